//! Every operation of [`Kernels`], with its rule for the way back.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::{Gradients, Leaf, Node, Receiver, RowsOf, Tape, TapeMatrix, host};
use crate::ckpt::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{Activation, Branch, Kernels, LogitRow, RawTensor, Reverse, RotaryRows, Scoring, View};
use crate::request::SiteValues;

/// Keys and values, and the nodes that they came from.
pub struct TapeKv<K: Reverse> {
    inner: K::Kv,
    appended: Vec<Appended<K>>,
}

/// Keys, values, and which rows of both.
type Appended<K> = (Node<K>, Node<K>, Range<usize>);

/// Whether a rule is called is decided by gradients that reach a result; a rule with one result has it then.
fn only<K: Reverse>(gradients: &Gradients<K>) -> Result<&K::Array> {
    gradients[0].as_ref().ok_or_else(|| Error::internal("a rule without a gradient"))
}

fn some<A>(gradient: A) -> Vec<Option<A>> {
    vec![Some(gradient)]
}

impl<K: Reverse> Tape<K> {
    /// A step from one array to one, whose rule needs nothing but the kernels and the gradient.
    fn map(
        &self,
        value: K::Array,
        read: &Node<K>,
        rule: impl Fn(&K, &K::Array) -> Result<K::Array> + Send + Sync + 'static,
    ) -> Result<Node<K>> {
        self.one(value, &[read], Box::new(move |k, made, _| Ok(some(rule(k, only::<K>(made)?)?))))
    }
}

impl<K: Reverse> Kernels for Tape<K> {
    type Array = Node<K>;
    type Raw = K::Raw;
    type Matrix = Arc<TapeMatrix<K>>;
    type Vector = Arc<Leaf<K::Vector>>;
    type Kv = TapeKv<K>;

    fn numerics_id(&self) -> &'static str {
        self.inner.numerics_id()
    }

    fn raw(&self, tensor: RawTensor) -> Result<K::Raw> {
        self.inner.raw(tensor)
    }

    fn matrix(&self, raw: &K::Raw, view: View) -> Result<Self::Matrix> {
        let matrix = Leaf { number: self.number(), value: self.inner.matrix(raw, view)? };
        Ok(Arc::new(TapeMatrix { matrix, transposed: OnceLock::new() }))
    }

    fn vector(&self, raw: &K::Raw, view: View) -> Result<Self::Vector> {
        Ok(Arc::new(Leaf { number: self.number(), value: self.inner.vector(raw, view)? }))
    }

    /// With the transpose, which is f32.
    fn matrix_bytes(out: usize, inner: usize, dtype: Dtype) -> usize {
        K::matrix_bytes(out, inner, dtype) + K::matrix_bytes(inner, out, Dtype::F32)
    }

    fn array(&self, values: SiteValues) -> Result<Node<K>> {
        Ok(Node { value: self.inner.array(values)?, id: None, origin: None })
    }

    fn host(&self, x: &Node<K>) -> Result<SiteValues> {
        self.inner.host(&x.value)
    }

    fn shape(&self, x: &Node<K>) -> Vec<usize> {
        self.inner.shape(&x.value)
    }

    fn apart(&self, x: Node<K>) -> Result<Node<K>> {
        self.map(x.value.clone(), &x, |_, dy| Ok(dy.clone()))
    }

    fn embed(&self, table: &Self::Matrix, ids: &[u32]) -> Result<Node<K>> {
        let value = self.inner.embed(&table.matrix.value, ids)?;
        let (number, ids) = (table.matrix.number, ids.to_vec());
        let rule = move |_: &K, made: &Gradients<K>, receiver: &mut dyn Receiver<K>| {
            if receiver.wants(number) {
                receiver.table(number, &ids, &RowsOf { gradient: only::<K>(made)?, origin: None })?;
            }
            Ok(Vec::new())
        };
        let mut made = self.step(vec![value], &[], true, Box::new(rule));
        made.pop().ok_or_else(|| Error::internal("a step without result"))
    }

    fn linears(&self, x: &Node<K>, weights: &[(&Self::Matrix, Option<&Self::Vector>)]) -> Result<Vec<Node<K>>> {
        let plain: Vec<_> =
            weights.iter().map(|(weight, bias)| (&weight.matrix.value, bias.map(|bias| &bias.value))).collect();
        let values = self.inner.linears(&x.value, &plain)?;
        let own = |(weight, bias): &(&Self::Matrix, Option<&Self::Vector>)| {
            (Arc::clone(weight), bias.map(|bias| bias.number))
        };
        let (weights, input): (Vec<_>, Node<K>) = (weights.iter().map(own).collect(), x.clone());
        let rule = move |k: &K, made: &Gradients<K>, receiver: &mut dyn Receiver<K>| {
            let mut dx = None;
            for ((weight, bias), gradient) in weights.iter().zip(made) {
                let Some(gradient) = gradient else { continue };
                let rows = RowsOf { gradient, origin: input.origin.as_deref() };
                if receiver.wants(weight.matrix.number) {
                    receiver.linear(weight.matrix.number, &input.value, &rows)?;
                }
                if let Some(bias) = bias.filter(|bias| receiver.wants(*bias)) {
                    receiver.vector(bias, &rows)?;
                }
                super::add(k, &mut dx, k.linear(gradient, weight.transposed(k)?, None)?)?;
            }
            Ok(vec![dx])
        };
        Ok(self.step(values, &[x], false, Box::new(rule)))
    }

    fn centre(&self, x: &Node<K>) -> Result<Node<K>> {
        self.map(self.inner.centre(&x.value)?, x, K::centre)
    }

    fn norm_scale(&self, x: &Node<K>, eps: f64) -> Result<Node<K>> {
        let scale = self.inner.norm_scale(&x.value, eps)?;
        let (input, made) = (x.value.clone(), scale.clone());
        self.map(scale, x, move |k, dscale| k.norm_scale_reverse(&input, &made, dscale))
    }

    fn norm_apply(
        &self,
        x: &Node<K>,
        scale: &Node<K>,
        gain: Option<&Self::Vector>,
        bias: Option<&Self::Vector>,
    ) -> Result<Node<K>> {
        let plain = |vector: Option<&Self::Vector>| vector.cloned();
        let (gain, bias) = (plain(gain), plain(bias));
        let value = self.inner.norm_apply(
            &x.value,
            &scale.value,
            gain.as_ref().map(|gain| &gain.value),
            bias.as_ref().map(|bias| &bias.value),
        )?;
        let (input, divisor) = (x.clone(), scale.value.clone());
        let rule = move |k: &K, made: &Gradients<K>, receiver: &mut dyn Receiver<K>| {
            let dy = only::<K>(made)?;
            let origin = input.origin.as_deref();
            if let Some(bias) = bias.as_ref().filter(|bias| receiver.wants(bias.number)) {
                receiver.vector(bias.number, &RowsOf { gradient: dy, origin })?;
            }
            if let Some(gain) = gain.as_ref().filter(|gain| receiver.wants(gain.number)) {
                let normed = k.norm_apply(&input.value, &divisor, None, None)?;
                receiver.vector(gain.number, &RowsOf { gradient: &k.multiply(normed, dy)?, origin })?;
            }
            let gain = gain.as_ref().map(|gain| &gain.value);
            let (dx, dscale) = k.norm_apply_reverse(&input.value, &divisor, gain, dy)?;
            Ok(vec![Some(dx), Some(dscale)])
        };
        self.one(value, &[x, scale], Box::new(rule))
    }

    fn split_heads(&self, x: Node<K>, heads: usize) -> Result<Node<K>> {
        let value = self.inner.split_heads(x.value.clone(), heads)?;
        self.map(value, &x, |k, dy| k.merge_heads(dy.clone()))
    }

    fn merge_heads(&self, x: Node<K>) -> Result<Node<K>> {
        let heads = self.shape(&x)[1];
        let value = self.inner.merge_heads(x.value.clone())?;
        self.map(value, &x, move |k, dy| k.split_heads(dy.clone(), heads))
    }

    fn rotate(&self, x: Node<K>, rows: &RotaryRows) -> Result<Node<K>> {
        let value = self.inner.rotate(x.value.clone(), rows)?;
        let back = RotaryRows { sin: rows.sin.iter().map(|sin| -sin).collect(), ..rows.clone() };
        self.map(value, &x, move |k, dy| k.rotate(dy.clone(), &back))
    }

    fn kv(&self, heads: usize, width: usize, capacity: usize) -> Result<TapeKv<K>> {
        Ok(TapeKv { inner: self.inner.kv(heads, width, capacity)?, appended: Vec::new() })
    }

    fn kv_bytes(heads: usize, width: usize, capacity: usize) -> usize {
        K::kv_bytes(heads, width, capacity)
    }

    fn kv_append(&self, kv: &mut TapeKv<K>, k: &Node<K>, v: &Node<K>, rows: Range<usize>) -> Result<()> {
        self.inner.kv_append(&mut kv.inner, &k.value, &v.value, rows.clone())?;
        kv.appended.push((k.clone(), v.clone(), rows));
        Ok(())
    }

    fn kv_arrays(&self, segments: &[&TapeKv<K>]) -> Result<(Node<K>, Node<K>)> {
        let inner: Vec<&K::Kv> = segments.iter().map(|kv| &kv.inner).collect();
        let (keys, values) = self.inner.kv_arrays(&inner)?;
        let parts: Vec<_> = segments.iter().flat_map(|kv| &kv.appended).collect();
        let collect = |value: K::Array, of: &dyn Fn(&Appended<K>) -> Node<K>| {
            let nodes: Vec<Node<K>> = parts.iter().map(|part| of(part)).collect();
            let places: Vec<(Range<usize>, usize)> =
                parts.iter().zip(&nodes).map(|((_, _, rows), node)| (rows.clone(), self.shape(node)[0])).collect();
            let rule = move |k: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
                let SiteValues { mut shape, values } = k.host(only::<K>(made)?)?;
                let width = values.len() / shape[0].max(1);
                let mut first = 0;
                let part = |(rows, count): &(Range<usize>, usize)| {
                    shape[0] = rows.len();
                    let own = values[first * width..(first + rows.len()) * width].to_vec();
                    first += rows.len();
                    let own = k.array(SiteValues { shape: shape.clone(), values: own })?;
                    Ok(Some(host::scatter(k, &own, &rows.clone().collect::<Vec<_>>(), *count)?))
                };
                places.iter().map(part).collect()
            };
            self.one(value, &nodes.iter().collect::<Vec<_>>(), Box::new(rule))
        };
        Ok((collect(keys, &|part| part.0.clone())?, collect(values, &|part| part.1.clone())?))
    }

    fn attention(&self, q: &Node<K>, branches: &[Branch<'_, TapeKv<K>>], scoring: Scoring) -> Result<Node<K>> {
        let plain: Vec<Branch<'_, K::Kv>> = branches
            .iter()
            .map(|branch| Branch {
                first: branch.first,
                rows: branch.rows,
                segments: branch.segments.iter().map(|kv| &kv.inner).collect(),
            })
            .collect();
        let value = self.inner.attention(&q.value, &plain, scoring)?;
        if self.lock().is_none() {
            return Ok(Node { value, id: None, origin: None });
        }
        // Every branch began at position zero, in this pass: its keys and values are rows of one array.
        let whole = |branch: &Branch<'_, TapeKv<K>>| match branch.segments[..] {
            [TapeKv { appended, .. }] if appended.len() == 1 => {
                let rows = branch.first..branch.first + branch.rows;
                (appended[0].2 == rows).then(|| (appended[0].clone(), rows))
            }
            _ => None,
        };
        let parts: Option<Vec<_>> = branches.iter().map(whole).collect();
        let parts = parts.ok_or_else(|| Error::internal("a recorded pass goes on from an earlier one"))?;
        let Some(((k, v, _), _)) = parts.first().cloned() else {
            return Err(Error::internal("attention without a branch"));
        };
        let rows: Vec<Range<usize>> = parts.into_iter().map(|(_, rows)| rows).collect();
        let [queries, keys, values] = [q, &k, &v].map(|node| node.value.clone());
        let rule = move |kernels: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
            let dz = only::<K>(made)?;
            let gradients = kernels.attention_reverse(&queries, &keys, &values, &rows, scoring, dz)?;
            Ok(gradients.into_iter().map(Some).collect())
        };
        self.one(value, &[q, &k, &v], Box::new(rule))
    }

    fn attention_scores(&self, q: &Node<K>, k: &Node<K>, scoring: Scoring) -> Result<Node<K>> {
        let value = self.inner.attention_scores(&q.value, &k.value, scoring)?;
        let (queries, keys, scores) = (q.value.clone(), k.value.clone(), value.clone());
        let rule = move |kernels: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
            let arrays = [&queries, &keys, &scores, only::<K>(made)?];
            Ok(host::attention_scores(kernels, arrays, scoring)?.into_iter().map(Some).collect())
        };
        self.one(value, &[q, k], Box::new(rule))
    }

    fn softmax(&self, scores: Node<K>) -> Result<Node<K>> {
        let value = self.inner.softmax(scores.value.clone())?;
        let p = value.clone();
        self.map(value, &scores, move |k, dp| k.softmax_reverse(&p, dp.clone()))
    }

    fn attention_mix(&self, pattern: &Node<K>, v: &Node<K>) -> Result<Node<K>> {
        let value = self.inner.attention_mix(&pattern.value, &v.value)?;
        let (p, values) = (pattern.value.clone(), v.value.clone());
        let rule = move |kernels: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
            let gradients = host::attention_mix(kernels, [&p, &values, only::<K>(made)?])?;
            Ok(gradients.into_iter().map(Some).collect())
        };
        self.one(value, &[pattern, v], Box::new(rule))
    }

    fn head_results(&self, z: &Node<K>, weight: &Self::Matrix) -> Result<Node<K>> {
        let value = self.inner.head_results(&z.value, &weight.matrix.value)?;
        let (weight, heads, input) = (Arc::clone(weight), self.shape(z)[1], z.value.clone());
        let rule = move |k: &K, made: &Gradients<K>, receiver: &mut dyn Receiver<K>| {
            let (dy, transposed) = (only::<K>(made)?, weight.transposed(k)?);
            let mut back = |head: usize| {
                let gradient = k.head(dy, head)?;
                if receiver.wants(weight.matrix.number) {
                    // The head's share alone: the others' inputs are zero.
                    let own = host::one_head(k, &k.head(&input, head)?, head, heads)?;
                    let rows = RowsOf { gradient: &gradient, origin: None };
                    receiver.linear(weight.matrix.number, &k.merge_heads(own)?, &rows)?;
                }
                k.head(&k.split_heads(k.linear(&gradient, transposed, None)?, heads)?, head)
            };
            let parts = (0..heads).map(&mut back).collect::<Result<Vec<_>>>()?;
            Ok(some(k.stack_heads(&parts)?))
        };
        self.one(value, &[z], Box::new(rule))
    }

    fn activate(&self, x: Node<K>, kind: Activation) -> Result<Node<K>> {
        let value = self.inner.activate(x.value.clone(), kind)?;
        let input = x.value.clone();
        self.map(value, &x, move |k, dy| k.activate_reverse(&input, kind, dy.clone()))
    }

    fn gated(&self, gate: Node<K>, up: &Node<K>, kind: Activation) -> Result<Node<K>> {
        let value = self.inner.gated(gate.value.clone(), &up.value, kind)?;
        let (g, u) = (gate.value.clone(), up.value.clone());
        let rule = move |k: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
            let (dgate, dup) = k.gated_reverse(&g, &u, kind, only::<K>(made)?)?;
            Ok(vec![Some(dgate), Some(dup)])
        };
        self.one(value, &[&gate, up], Box::new(rule))
    }

    fn scale(&self, x: Node<K>, by: f64) -> Result<Node<K>> {
        let value = self.inner.scale(x.value.clone(), by)?;
        self.map(value, &x, move |k, dy| k.scale(dy.clone(), by))
    }

    fn clip(&self, x: Node<K>, limit: f64) -> Result<Node<K>> {
        let value = self.inner.clip(x.value.clone(), limit)?;
        let (input, limit) = (x.value.clone(), limit as f32);
        let inside = move |dy: f32, x: f32| if x.abs() <= limit { dy } else { 0.0 };
        self.map(value, &x, move |k, dy| host::zip(k, dy, &input, inside))
    }

    fn soft_cap(&self, x: Node<K>, cap: f64) -> Result<Node<K>> {
        let value = self.inner.soft_cap(x.value.clone(), cap)?;
        let (capped, cap) = (value.clone(), cap as f32);
        self.map(value, &x, move |k, dy| host::zip(k, dy, &capped, |dy, y| dy * (1.0 - (y / cap) * (y / cap))))
    }

    fn share(&self, x: Node<K>) -> Result<Node<K>> {
        let value = self.inner.share(x.value.clone())?;
        let input = x.value.clone();
        self.map(value, &x, move |k, dy| host::share(k, &input, dy))
    }

    fn add_rows(&self, x: Node<K>, rows: &[usize], y: &Node<K>, weights: &Node<K>, column: usize) -> Result<Node<K>> {
        let value = self.inner.add_rows(x.value.clone(), rows, &y.value, &weights.value, column)?;
        let (rows, added, factors) = (rows.to_vec(), y.value.clone(), weights.value.clone());
        let rule = move |k: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
            let dx = only::<K>(made)?;
            let (dy, dweights) = host::add_rows(k, &rows, &added, &factors, column, dx)?;
            Ok(vec![Some(dx.clone()), Some(dy), Some(dweights)])
        };
        self.one(value, &[&x, y, weights], Box::new(rule))
    }

    fn add(&self, a: Node<K>, b: &Node<K>) -> Result<Node<K>> {
        let value = self.inner.add(a.value.clone(), &b.value)?;
        let rule = |_: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| Ok(vec![made[0].clone(), made[0].clone()]);
        self.one(value, &[&a, b], Box::new(rule))
    }

    fn multiply(&self, a: Node<K>, b: &Node<K>) -> Result<Node<K>> {
        let value = self.inner.multiply(a.value.clone(), &b.value)?;
        let (x, y) = (a.value.clone(), b.value.clone());
        let rule = move |k: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
            let d = only::<K>(made)?;
            Ok(vec![Some(k.multiply(d.clone(), &y)?), Some(k.multiply(d.clone(), &x)?)])
        };
        self.one(value, &[&a, b], Box::new(rule))
    }

    fn subtract(&self, a: Node<K>, b: &Node<K>) -> Result<Node<K>> {
        let value = self.inner.subtract(a.value.clone(), &b.value)?;
        let rule = |k: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
            let d = only::<K>(made)?;
            Ok(vec![Some(d.clone()), Some(k.scale(d.clone(), -1.0)?)])
        };
        self.one(value, &[&a, b], Box::new(rule))
    }

    fn select(&self, mask: &Node<K>, a: &Node<K>, b: &Node<K>) -> Result<Node<K>> {
        let value = self.inner.select(&mask.value, &a.value, &b.value)?;
        let mask = mask.value.clone();
        let rule = move |k: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
            let d = only::<K>(made)?;
            let zero = k.scale(d.clone(), 0.0)?;
            Ok(vec![Some(k.select(&mask, d, &zero)?), Some(k.select(&mask, &zero, d)?)])
        };
        self.one(value, &[a, b], Box::new(rule))
    }

    fn rows(&self, x: &Node<K>, rows: &[usize]) -> Result<Node<K>> {
        let value = self.inner.rows(&x.value, rows)?;
        let (count, own) = (self.shape(x)[0], rows.to_vec());
        let made = self.map(value, x, move |k, dy| host::scatter(k, dy, &own, count))?;
        let origin = rows.iter().map(|&row| x.origin.as_ref().map_or(row, |origin| origin[row])).collect();
        Ok(Node { origin: Some(origin), ..made })
    }

    fn repeat_for_heads(&self, x: &Node<K>, heads: usize) -> Result<Node<K>> {
        self.map(self.inner.repeat_for_heads(&x.value, heads)?, x, K::sum_heads)
    }

    fn head(&self, x: &Node<K>, head: usize) -> Result<Node<K>> {
        let heads = self.shape(x)[1];
        self.map(self.inner.head(&x.value, head)?, x, move |k, dy| host::one_head(k, dy, head, heads))
    }

    fn stack_heads(&self, heads: &[Node<K>]) -> Result<Node<K>> {
        let values: Vec<K::Array> = heads.iter().map(|node| node.value.clone()).collect();
        let count = heads.len();
        let rule = move |k: &K, made: &Gradients<K>, _: &mut dyn Receiver<K>| {
            let dy = only::<K>(made)?;
            (0..count).map(|head| Ok(Some(k.head(dy, head)?))).collect()
        };
        self.one(self.inner.stack_heads(&values)?, &heads.iter().collect::<Vec<_>>(), Box::new(rule))
    }

    fn sum_heads(&self, x: &Node<K>) -> Result<Node<K>> {
        let heads = self.shape(x)[1];
        self.map(self.inner.sum_heads(&x.value)?, x, move |k, dy| k.repeat_for_heads(dy, heads))
    }

    fn logit_rows(&self, logits: &Node<K>) -> Result<Vec<LogitRow>> {
        self.inner.logit_rows(&logits.value)
    }

    fn pick(&self, x: &Node<K>, places: &[(usize, usize)]) -> Result<Vec<f32>> {
        self.inner.pick(&x.value, places)
    }
}
