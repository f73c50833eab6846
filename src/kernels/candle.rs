//! [`Kernels`] composed of plain candle operations.
//!
//! candle-nn's fused operations (norms, softmax, rotary) record no backward step, so a gradient that passes them is
//! silently wrong; everything here is made of operations that candle's tape differentiates. A product's rounding may
//! depend on how many rows it has, so scores of this path are reproducible for one way of cutting the work into
//! forward passes, which [`crate::request::Plan`] keeps independent of neighbours.

use std::ops::Range;

use candle_core::{D, DType, Device, Tensor, Var};

use super::{Activation, Branch, Kernels, LogitRow, RawTensor, RotaryRows, Scoring, View};
use crate::ckpt::{Dtype, widen};
use crate::error::{Error, Result};
use crate::request::SiteValues;

/// f32 tensors on one device.
#[derive(Debug, Clone)]
pub struct Candle {
    device: Device,
    /// Whether stored tensors become variables of the tape.
    tracked: bool,
}

/// A stored tensor; a variable when gradients are wanted.
pub struct Raw {
    pub(crate) tensor: Tensor,
    pub(crate) variable: Option<Var>,
}

/// Keys and values of a run of positions, `[T, G, h]` each; none before the first.
pub struct Kv(Option<(Tensor, Tensor)>);

impl Candle {
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, tracked: false }
    }

    /// Every stored tensor becomes a variable, so that gradients can be taken.
    pub fn cpu_tracked() -> Self {
        Self { device: Device::Cpu, tracked: true }
    }

    /// The first CUDA device. Nobody has run this path yet.
    ///
    /// # Errors
    /// In a build without the feature `cuda`, and without such a device.
    pub fn cuda() -> Result<Self> {
        let device = Device::new_cuda(0).map_err(|e| {
            Error::bad(format!("no CUDA device: {e}")).help("build with `--features cuda` on a machine that has one")
        })?;
        Ok(Self { device, tracked: false })
    }

    fn view(raw: &Raw, view: View) -> Result<Tensor> {
        let tensor = &raw.tensor;
        Ok(match view {
            View::Whole => tensor.clone(),
            View::PlusOne => (tensor + 1.0)?,
            View::Columns { start, len } => tensor.narrow(1, start, len)?.t()?.contiguous()?,
            View::Entries { start, len } => tensor.narrow(0, start, len)?,
            View::HeadPart { part, parts, heads, width } => {
                let tail = tensor.dims()[1..].to_vec();
                let mut split = vec![heads, parts, width];
                split.extend(&tail);
                let mut merged = vec![heads * width];
                merged.extend(&tail);
                tensor.reshape(split)?.narrow(1, part, 1)?.contiguous()?.reshape(merged)?
            }
        })
    }

    /// Repeats key/value heads so that there is one for each query head: `[T, G, h]` to `[H, T, h]`.
    fn heads_first(x: &Tensor, heads: usize) -> Result<Tensor> {
        let (rows, groups, width) = x.dims3()?;
        let x = x.transpose(0, 1)?.contiguous()?;
        if groups == heads {
            return Ok(x);
        }
        Ok(x.unsqueeze(1)?
            .expand((groups, heads / groups, rows, width))?
            .contiguous()?
            .reshape((heads, rows, width))?)
    }
}

impl Kernels for Candle {
    type Array = Tensor;
    type Raw = Raw;
    type Matrix = Tensor;
    type Vector = Tensor;
    type Kv = Kv;

    fn numerics_id(&self) -> &'static str {
        // Another device adds in another order.
        if self.device.is_cpu() { "candle-0.11/1" } else { "candle-0.11-cuda/1" }
    }

    fn raw(&self, raw: RawTensor) -> Result<Raw> {
        let tensor = self.array(SiteValues { shape: raw.shape, values: widen(raw.dtype, &raw.bytes) })?;
        if !self.tracked {
            return Ok(Raw { tensor, variable: None });
        }
        let variable = Var::from_tensor(&tensor)?;
        Ok(Raw { tensor: variable.as_tensor().clone(), variable: Some(variable) })
    }

    fn matrix(&self, raw: &Raw, view: View) -> Result<Tensor> {
        Self::view(raw, view)
    }

    fn vector(&self, raw: &Raw, view: View) -> Result<Tensor> {
        Self::view(raw, view)
    }

    fn matrix_bytes(out: usize, inner: usize, _dtype: Dtype) -> usize {
        out * inner * 4
    }

    fn array(&self, values: SiteValues) -> Result<Tensor> {
        Ok(Tensor::from_vec(values.values, values.shape, &self.device)?)
    }

    fn host(&self, x: &Tensor) -> Result<SiteValues> {
        Ok(SiteValues { shape: x.dims().to_vec(), values: x.flatten_all()?.to_vec1()? })
    }

    fn shape(&self, x: &Tensor) -> Vec<usize> {
        x.dims().to_vec()
    }

    fn embed(&self, table: &Tensor, ids: &[u32]) -> Result<Tensor> {
        Ok(table.index_select(&Tensor::new(ids, &self.device)?, 0)?)
    }

    fn linears(&self, x: &Tensor, weights: &[(&Tensor, Option<&Tensor>)]) -> Result<Vec<Tensor>> {
        let one = |(weight, bias): &(&Tensor, Option<&Tensor>)| {
            let y = x.matmul(&weight.t()?)?;
            Ok(match bias {
                Some(bias) => y.broadcast_add(bias)?,
                None => y,
            })
        };
        weights.iter().map(one).collect()
    }

    fn centre(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?)
    }

    fn norm_scale(&self, x: &Tensor, eps: f64) -> Result<Tensor> {
        Ok((x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?)
    }

    fn norm_apply(&self, x: &Tensor, scale: &Tensor, gain: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
        let y = x.broadcast_div(scale)?;
        let y = match gain {
            Some(gain) => y.broadcast_mul(gain)?,
            None => y,
        };
        Ok(match bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }

    fn split_heads(&self, x: Tensor, heads: usize) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        Ok(x.reshape((rows, heads, width / heads))?)
    }

    fn merge_heads(&self, x: Tensor) -> Result<Tensor> {
        Ok(x.flatten_from(1)?)
    }

    fn rotate(&self, x: Tensor, rows: &RotaryRows) -> Result<Tensor> {
        let half = rows.columns;
        let table = |values: &[f32]| Tensor::from_slice(values, (rows.rows, 1, half), &self.device);
        let (cos, sin) = (table(&rows.cos)?, table(&rows.sin)?);
        let width = x.dim(2)?;
        let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let turned_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let turned_b = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        if width == 2 * half {
            return Ok(Tensor::cat(&[turned_a, turned_b], 2)?);
        }
        Ok(Tensor::cat(&[turned_a, turned_b, x.narrow(2, 2 * half, width - 2 * half)?], 2)?)
    }

    fn kv(&self, _heads: usize, _width: usize, _capacity: usize) -> Result<Kv> {
        Ok(Kv(None))
    }

    fn kv_bytes(heads: usize, width: usize, capacity: usize) -> usize {
        2 * 4 * heads * width * capacity
    }

    fn kv_append(&self, kv: &mut Kv, k: &Tensor, v: &Tensor, rows: Range<usize>) -> Result<()> {
        let (k, v) = (k.narrow(0, rows.start, rows.len())?, v.narrow(0, rows.start, rows.len())?);
        kv.0 = Some(match kv.0.take() {
            Some((keys, values)) => (Tensor::cat(&[keys, k], 0)?, Tensor::cat(&[values, v], 0)?),
            None => (k, v),
        });
        Ok(())
    }

    fn kv_arrays(&self, segments: &[&Kv]) -> Result<(Tensor, Tensor)> {
        let (keys, values): (Vec<&Tensor>, Vec<&Tensor>) =
            segments.iter().filter_map(|kv| kv.0.as_ref()).map(|(k, v)| (k, v)).unzip();
        Ok((Tensor::cat(&keys, 0)?, Tensor::cat(&values, 0)?))
    }

    fn attention(&self, q: &Tensor, branches: &[Branch<'_, Kv>], scoring: Scoring) -> Result<Tensor> {
        let one = |branch: &Branch<'_, Kv>| {
            let (k, v) = self.kv_arrays(&branch.segments)?;
            let q = q.narrow(0, branch.first, branch.rows)?;
            self.attention_mix(&self.softmax(self.attention_scores(&q, &k, scoring)?)?, &v)
        };
        Ok(Tensor::cat(&branches.iter().map(one).collect::<Result<Vec<_>>>()?, 0)?)
    }

    fn attention_scores(&self, q: &Tensor, k: &Tensor, scoring: Scoring) -> Result<Tensor> {
        let (rows, heads, _) = q.dims3()?;
        let total = k.dim(0)?;
        let q = q.transpose(0, 1)?.contiguous()?;
        let scores = (q.matmul(&Self::heads_first(k, heads)?.transpose(1, 2)?)? * scoring.scale)?;
        let scores = match scoring.cap {
            Some(cap) => self.soft_cap(scores, cap)?,
            None => scores,
        };
        let offset = total - rows;
        if rows == 1 && scoring.first_seen(offset) == 0 {
            return Ok(scores);
        }
        let seen = |s: usize| scoring.first_seen(offset + s)..=offset + s;
        let mask: Vec<f32> = (0..rows)
            .flat_map(|s| (0..total).map(move |t| if seen(s).contains(&t) { 0.0 } else { f32::NEG_INFINITY }))
            .collect();
        Ok(scores.broadcast_add(&Tensor::from_vec(mask, (1, rows, total), &self.device)?)?)
    }

    fn softmax(&self, scores: Tensor) -> Result<Tensor> {
        // The maximum only shifts the exponents; its gradient cancels, so it is left out of the tape.
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        Ok(weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?)
    }

    fn attention_mix(&self, pattern: &Tensor, v: &Tensor) -> Result<Tensor> {
        let mixed = pattern.matmul(&Self::heads_first(v, pattern.dim(0)?)?)?;
        Ok(mixed.transpose(0, 1)?.contiguous()?)
    }

    fn head_results(&self, z: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let (_, heads, width) = z.dims3()?;
        let model = weight.dim(0)?;
        let weight = weight.reshape((model, heads, width))?.permute((1, 2, 0))?.contiguous()?;
        Ok(z.transpose(0, 1)?.contiguous()?.matmul(&weight)?.transpose(0, 1)?.contiguous()?)
    }

    fn activate(&self, x: Tensor, kind: Activation) -> Result<Tensor> {
        Ok(match kind {
            Activation::Silu => x.silu()?,
            Activation::Gelu => x.gelu_erf()?,
            Activation::GeluTanh => x.gelu()?,
            Activation::Relu => x.relu()?,
        })
    }

    fn scale(&self, x: Tensor, by: f64) -> Result<Tensor> {
        Ok((x * by)?)
    }

    fn clip(&self, x: Tensor, limit: f64) -> Result<Tensor> {
        Ok(x.clamp(-limit, limit)?)
    }

    fn soft_cap(&self, x: Tensor, cap: f64) -> Result<Tensor> {
        Ok(((x / cap)?.tanh()? * cap)?)
    }

    fn share(&self, x: Tensor) -> Result<Tensor> {
        Ok(x.broadcast_div(&x.sum_keepdim(D::Minus1)?)?)
    }

    fn add_rows(&self, x: Tensor, rows: &[usize], y: &Tensor, weights: &Tensor, column: usize) -> Result<Tensor> {
        let weights = self.rows(&weights.narrow(1, column, 1)?.contiguous()?, rows)?;
        let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        Ok(x.index_add(&Tensor::new(rows, &self.device)?, &y.broadcast_mul(&weights)?, 0)?)
    }

    fn add(&self, a: Tensor, b: &Tensor) -> Result<Tensor> {
        Ok(a.broadcast_add(b)?)
    }

    fn multiply(&self, a: Tensor, b: &Tensor) -> Result<Tensor> {
        Ok(a.broadcast_mul(b)?)
    }

    fn subtract(&self, a: Tensor, b: &Tensor) -> Result<Tensor> {
        Ok((a - b)?)
    }

    fn select(&self, mask: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        Ok(mask.to_dtype(DType::U8)?.where_cond(a, b)?)
    }

    fn rows(&self, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        Ok(x.index_select(&Tensor::new(rows, &self.device)?, 0)?)
    }

    fn repeat_for_heads(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        Ok(x.unsqueeze(1)?.expand((rows, heads, width))?.contiguous()?)
    }

    fn head(&self, x: &Tensor, head: usize) -> Result<Tensor> {
        Ok(x.narrow(1, head, 1)?.squeeze(1)?.contiguous()?)
    }

    fn stack_heads(&self, heads: &[Tensor]) -> Result<Tensor> {
        Ok(Tensor::stack(heads, 1)?)
    }

    fn sum_heads(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.sum(1)?)
    }

    fn logit_rows(&self, logits: &Tensor) -> Result<Vec<LogitRow>> {
        let one = |row: &Vec<f32>| {
            let best = row.iter().enumerate().fold(0, |best, (i, value)| if *value > row[best] { i } else { best });
            let sum: f64 = row.iter().map(|&x| libm::exp(f64::from(x) - f64::from(row[best]))).sum();
            LogitRow { best, max: row[best], log_sum: libm::log(sum) }
        };
        Ok(logits.to_vec2::<f32>()?.iter().map(one).collect())
    }

    fn pick(&self, x: &Tensor, places: &[(usize, usize)]) -> Result<Vec<f32>> {
        places.iter().map(|&(row, column)| Ok(x.get(row)?.get(column)?.to_scalar()?)).collect()
    }
}

/// Gradients of a scalar with respect to stored tensors. Runs on a thread with a large stack: candle walks its graph
/// recursively and a deep model would overflow the usual one.
pub(crate) fn gradients(loss: &Tensor, raws: &[(&str, &Raw)]) -> Result<Vec<(String, SiteValues)>> {
    const STACK_BYTES: usize = 256 << 20;
    let store = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("backward".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || loss.backward())
            .map_err(|e| Error::internal(format!("could not start a thread for the backward pass: {e}")))?
            .join()
            .map_err(|_| Error::internal("the backward pass panicked"))?
            .map_err(Error::from)
    })?;
    raws.iter()
        .map(|(name, raw)| {
            let variable = raw.variable.as_ref().ok_or_else(|| Error::internal("gradients need tracked kernels"))?;
            // Not on the way to the loss: an expert that no row chose.
            let gradient = match store.get(variable.as_tensor()) {
                Some(gradient) => gradient.clone(),
                None => variable.zeros_like()?,
            };
            let values = gradient.flatten_all()?.to_vec1()?;
            Ok(((*name).to_owned(), SiteValues { shape: gradient.dims().to_vec(), values }))
        })
        .collect()
}

/// Sum over rows of the negative log-softmax at each row's target: `[rows, vocab]` to a scalar.
pub(crate) fn nll_sum(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
    Ok((log_sum - shifted.gather(&targets, 1)?)?.sum_all()?)
}
