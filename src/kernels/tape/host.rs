//! Reverses that no hot pass meets, on plain numbers.

use crate::error::Result;
use crate::kernels::{Kernels, Scoring};
use crate::request::SiteValues;

/// `f` of two arrays of one shape, entry by entry.
pub(super) fn zip<K: Kernels>(k: &K, a: &K::Array, b: &K::Array, f: impl Fn(f32, f32) -> f32) -> Result<K::Array> {
    let (a, b) = (k.host(a)?, k.host(b)?);
    let values = a.values.iter().zip(&b.values).map(|(a, b)| f(*a, *b)).collect();
    k.array(SiteValues { shape: a.shape, values })
}

/// `[count, ..]` of zeros, with row i of `x` added to row `rows[i]`.
pub(super) fn scatter<K: Kernels>(k: &K, x: &K::Array, rows: &[usize], count: usize) -> Result<K::Array> {
    let SiteValues { mut shape, values } = k.host(x)?;
    let width = values.len() / rows.len().max(1);
    let mut out = vec![0f32; count * width];
    for (row, values) in rows.iter().zip(values.chunks(width.max(1))) {
        out[row * width..][..width].iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
    }
    shape[0] = count;
    k.array(SiteValues { shape, values: out })
}

/// `[S, heads, w]` of zeros but for one head.
pub(super) fn one_head<K: Kernels>(k: &K, x: &K::Array, head: usize, heads: usize) -> Result<K::Array> {
    let SiteValues { shape, values } = k.host(x)?;
    let width = shape[1];
    let mut out = vec![0f32; values.len() * heads];
    for (row, values) in values.chunks(width).enumerate() {
        out[(row * heads + head) * width..][..width].copy_from_slice(values);
    }
    k.array(SiteValues { shape: vec![shape[0], heads, width], values: out })
}

/// Of `y = x / sum(x)`, row by row.
pub(super) fn share<K: Kernels>(k: &K, x: &K::Array, dy: &K::Array) -> Result<K::Array> {
    let (x, mut dy) = (k.host(x)?, k.host(dy)?);
    let width = x.shape[x.shape.len() - 1];
    for (dy, x) in dy.values.chunks_mut(width).zip(x.values.chunks(width)) {
        let sum: f32 = x.iter().sum();
        let along: f32 = dy.iter().zip(x).map(|(dy, x)| dy * x).sum::<f32>() / sum;
        for dy in dy {
            *dy = (*dy - along) / sum;
        }
    }
    k.array(dy)
}

/// Of row i of `y` times `weights[rows[i], column]`, added to row `rows[i]`: with respect to `y`, and to the weights.
pub(super) fn add_rows<K: Kernels>(
    k: &K,
    rows: &[usize],
    y: &K::Array,
    weights: &K::Array,
    column: usize,
    dx: &K::Array,
) -> Result<(K::Array, K::Array)> {
    let (y, weights, mut dy) = (k.host(y)?, k.host(weights)?, k.host(&k.rows(dx, rows)?)?);
    let (width, columns) = (y.shape[1], weights.shape[1]);
    let mut dweights = vec![0f32; weights.values.len()];
    for ((row, y), dy) in rows.iter().zip(y.values.chunks(width)).zip(dy.values.chunks_mut(width)) {
        let at = row * columns + column;
        dweights[at] = dy.iter().zip(y).fold(0.0, |sum, (dy, y)| dy.mul_add(*y, sum));
        for dy in dy {
            *dy *= weights.values[at];
        }
    }
    Ok((k.array(dy)?, k.array(SiteValues { shape: weights.shape, values: dweights })?))
}

/// Of masked scores `[H, S, T]`, with respect to q `[S, H, h]` and k `[T, G, h]`.
pub(super) fn attention_scores<K: Kernels>(
    kernels: &K,
    [q, k, scores, dscores]: [&K::Array; 4],
    scoring: Scoring,
) -> Result<[K::Array; 2]> {
    let (q, k) = (kernels.host(q)?, kernels.host(k)?);
    let (scores, dscores) = (kernels.host(scores)?.values, kernels.host(dscores)?.values);
    let (rows, heads, width) = (q.shape[0], q.shape[1], q.shape[2]);
    let (positions, kv_heads) = (k.shape[0], k.shape[1]);
    let (mut dq, mut dk) = (vec![0f32; q.values.len()], vec![0f32; k.values.len()]);
    for head in 0..heads {
        for row in 0..rows {
            let own = (row * heads + head) * width;
            for position in 0..positions {
                let at = (head * rows + row) * positions + position;
                if scores[at] == f32::NEG_INFINITY {
                    continue;
                }
                let slope = scoring.cap.map_or(1.0, |cap| 1.0 - (scores[at] / cap as f32).powi(2));
                let d = dscores[at] * slope * scoring.scale as f32;
                let other = (position * kv_heads + head * kv_heads / heads) * width;
                for entry in 0..width {
                    dq[own + entry] += d * k.values[other + entry];
                    dk[other + entry] += d * q.values[own + entry];
                }
            }
        }
    }
    Ok([kernels.array(SiteValues { values: dq, ..q })?, kernels.array(SiteValues { values: dk, ..k })?])
}

/// Of `pattern v`: with respect to the pattern `[H, S, T]` and v `[T, G, h]`.
pub(super) fn attention_mix<K: Kernels>(kernels: &K, [pattern, v, dz]: [&K::Array; 3]) -> Result<[K::Array; 2]> {
    let (pattern, v, dz) = (kernels.host(pattern)?, kernels.host(v)?, kernels.host(dz)?);
    let (heads, rows, positions) = (pattern.shape[0], pattern.shape[1], pattern.shape[2]);
    let (kv_heads, width) = (v.shape[1], v.shape[2]);
    let (mut dpattern, mut dv) = (vec![0f32; pattern.values.len()], vec![0f32; v.values.len()]);
    for head in 0..heads {
        for row in 0..rows {
            let dz = &dz.values[(row * heads + head) * width..][..width];
            for position in 0..=positions - rows + row {
                let at = (head * rows + row) * positions + position;
                let value = (position * kv_heads + head * kv_heads / heads) * width;
                let own = &v.values[value..][..width];
                dpattern[at] = dz.iter().zip(own).fold(0.0, |sum, (dz, v)| dz.mul_add(*v, sum));
                let p = pattern.values[at];
                dv[value..][..width].iter_mut().zip(dz).for_each(|(dv, dz)| *dv += p * dz);
            }
        }
    }
    Ok([kernels.array(SiteValues { values: dpattern, ..pattern })?, kernels.array(SiteValues { values: dv, ..v })?])
}
