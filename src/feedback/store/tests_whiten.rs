//! Autocorrelations of stores and whitened stores: the definition, planted truth, a null, going on.

use std::collections::BTreeMap;
use std::path::Path;

use super::tests::{DIM, header, wild};
use super::*;
use crate::feedback::{Autocorrelation, Damping, Power, Whitening};
use crate::kernels::cpu::Cpu;

const ROWS: usize = 400;
const HALF: usize = DIM / 2;

fn store(folder: &Path, values: &[f32]) -> GradStore {
    let mut writer = GradWriter::open(folder, &header(Element::F32)).unwrap();
    for (row, values) in values.chunks(DIM).enumerate() {
        writer.append(&[GradRow { id: row as i64, loss: 1.0, n_tokens: 2, position: None, values }]).unwrap();
    }
    writer.finish().unwrap();
    GradStore::open(folder).unwrap()
}

fn whitenings(sums: &Autocorrelation, damping: f64) -> BTreeMap<String, Whitening> {
    let by = |(name, mean): (&String, &_)| {
        (name.clone(), Whitening::new(mean, Damping::OfMean(damping), Power::InverseRoot).unwrap())
    };
    sums.means().iter().map(by).collect()
}

fn white_header() -> Header {
    let [store_sha256, source_sha256] = ["1", "0"].map(|digit| digit.repeat(64));
    let whitening = WhiteningRecord { store_sha256, source_sha256, damping: 0.1, queries: None };
    Header { whitening: Some(whitening), ..header(Element::F32) }
}

fn whitened(store: &GradStore, by: &BTreeMap<String, Whitening>, folder: &Path) -> GradStore {
    let mut writer = GradWriter::open(folder, &white_header()).unwrap();
    whiten(store, by, &Cpu::default(), &mut writer, &|_| ()).unwrap();
    writer.finish().unwrap();
    GradStore::open(folder).unwrap()
}

/// Rows that share a large direction in the first module; their own part is noise.
fn shared(strength: f32) -> Vec<f32> {
    let (noise, direction, along) = (wild(ROWS * DIM, 1), wild(HALF, 2), wild(ROWS, 3));
    let value = |at: usize| {
        let (row, column) = (at / DIM, at % DIM);
        noise[at] + if column < HALF { strength * (1.0 + 0.2 * along[row]) * direction[column] } else { 0.0 }
    };
    (0..ROWS * DIM).map(value).collect()
}

#[test]
fn rows_are_multiplied_module_by_module() {
    let folder = tempfile::tempdir().unwrap();
    let values = shared(3.0);
    let own = store(&folder.path().join("own"), &values);
    let sums = own.autocorrelation(&|_| ()).unwrap();
    let by = whitenings(&sums, 0.1);
    let white = whitened(&own, &by, &folder.path().join("white"));
    let mut wanted = values.clone();
    for row in wanted.chunks_mut(DIM) {
        by["layers.0.mlp.up_proj"].apply(&mut row[..HALF]);
        by["layers.0.mlp.down_proj"].apply(&mut row[HALF..]);
    }
    let found = white.rows(0..ROWS as u64).unwrap();
    assert!(wanted.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + a.abs())));
    // Another store of the same rows gives the same sums; half of them gives others.
    let again = store(&folder.path().join("again"), &values).autocorrelation(&|_| ()).unwrap();
    assert_eq!(again, sums);
    // Rows of one kind are not multiplied with those of the other.
    let error = own.comparable(&white).unwrap_err().to_string();
    assert!(error.contains("whitening: expected whitening none, found {"), "{error}");
}

#[test]
fn what_all_rows_share_is_taken_out_and_noise_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mean_cosine = |store: &GradStore| {
        let rows = store.rows(0..ROWS as u64).unwrap();
        let unit: Vec<Vec<f64>> = rows
            .chunks(DIM)
            .map(|row| {
                let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                row.iter().map(|v| f64::from(*v) / norm).collect()
            })
            .collect();
        let pairs = (0..ROWS).flat_map(|a| (0..a).map(move |b| (a, b)));
        let cosines = pairs.map(|(a, b)| unit[a].iter().zip(&unit[b]).map(|(x, y)| x * y).sum::<f64>());
        cosines.sum::<f64>() / (ROWS * (ROWS - 1) / 2) as f64
    };
    let cosines = |strength: f32, name: &str| {
        let own = store(&folder.path().join(name), &shared(strength));
        let by = whitenings(&own.autocorrelation(&|_| ()).unwrap(), 0.1);
        (mean_cosine(&own), mean_cosine(&whitened(&own, &by, &folder.path().join(format!("{name}-white")))))
    };
    let (before, after) = cosines(4.0, "planted");
    assert!(before > 0.7 && after < 0.15, "{before} {after}");
    let (before, after) = cosines(0.0, "null");
    assert!(before.abs() < 0.02 && after.abs() < 0.02, "{before} {after}");
}

#[test]
fn goes_on_where_it_stopped_and_refuses_what_it_has_no_matrix_for() {
    let root = tempfile::tempdir().unwrap();
    let own = store(&root.path().join("own"), &shared(1.0));
    let mut by = whitenings(&own.autocorrelation(&|_| ()).unwrap(), 0.1);
    let white = whitened(&own, &by, &root.path().join("white"));
    // A first process that wrote some rows.
    let part = root.path().join("part");
    let mut writer = GradWriter::open(&part, &white_header()).unwrap();
    let rows = white.rows(0..150).unwrap();
    for (id, values) in rows.chunks(DIM).enumerate() {
        writer.append(&[GradRow { id: id as i64, loss: 1.0, n_tokens: 2, position: None, values }]).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    assert_eq!(whitened(&own, &by, &part).rows(0..ROWS as u64).unwrap(), white.rows(0..ROWS as u64).unwrap());
    // Raw rows do not go behind whitened ones, nor whitened behind raw.
    for (folder, header) in [("white", header(Element::F32)), ("own", white_header())] {
        let error = GradWriter::open(&root.path().join(folder), &header).err().unwrap().to_string();
        assert!(error.contains("whitening: expected whitening"), "{error}");
    }
    by.remove("layers.0.mlp.up_proj");
    let mut writer = GradWriter::open(&root.path().join("none"), &white_header()).unwrap();
    let error = whiten(&own, &by, &Cpu::default(), &mut writer, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("module layers.0.mlp.up_proj: expected an autocorrelation of 9 columns"), "{error}");
}

/// Tokens' rows of an item are in one shard, also where a process stopped between them.
#[test]
fn items_of_tokens_stay_together() {
    let root = tempfile::tempdir().unwrap();
    let values = shared(1.0);
    let tokens = Header { per_token: true, ..header(Element::F32) };
    let mut writer = GradWriter::open(&root.path().join("own"), &tokens).unwrap();
    for (item, values) in values.chunks(7 * DIM).enumerate() {
        let row = |(place, values): (usize, _)| GradRow {
            id: item as i64,
            loss: 1.0,
            n_tokens: 7,
            position: Some(place as i32),
            values,
        };
        writer.append(&values.chunks(DIM).enumerate().map(row).collect::<Vec<_>>()).unwrap();
    }
    writer.finish().unwrap();
    let own = GradStore::open(&root.path().join("own")).unwrap();
    let by = whitenings(&own.autocorrelation(&|_| ()).unwrap(), 0.1);
    let open = |name: &str| {
        let header = Header { per_token: true, ..white_header() };
        GradWriter::open(&root.path().join(name), &header).unwrap()
    };
    let mut writer = open("white");
    whiten(&own, &by, &Cpu::default(), &mut writer, &|_| ()).unwrap();
    writer.finish().unwrap();
    let white = GradStore::open(&root.path().join("white")).unwrap();
    for row in 0..ROWS as u64 {
        let known = white.info(row).unwrap();
        assert_eq!((known.id, known.item.unwrap().position), (row as i64 / 7, Some(row as i32 % 7)));
    }
    assert_eq!(white.len(), ROWS as u64);
}
