//! Stores in which a row is a token's.

use std::path::Path;

use super::tests::{DIM, header, wild};
use super::*;
use crate::error::Result;

/// Rows of each item.
const ITEMS: [usize; 4] = [3, 1, 5, 2];

fn of_tokens() -> Header {
    Header { per_token: true, ..header(Element::F32) }
}

/// Appends items `from..to`.
fn append(writer: &mut GradWriter, values: &[f32], from: usize, to: usize) -> Result<()> {
    for item in from..to {
        let first: usize = ITEMS[..item].iter().sum();
        let row = |position: usize| GradRow {
            id: item as i64,
            loss: item as f32,
            n_tokens: ITEMS[item] as i32,
            position: Some(position as i32),
            values: &values[(first + position) * DIM..][..DIM],
        };
        writer.append(&(0..ITEMS[item]).map(row).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn filled(folder: &Path, values: &[f32]) -> GradStore {
    let mut writer = GradWriter::open(folder, &of_tokens()).unwrap();
    assert_eq!(writer.last_item(), None);
    append(&mut writer, values, 0, 2).unwrap();
    writer.flush().unwrap();
    append(&mut writer, values, 2, 4).unwrap();
    writer.finish().unwrap();
    GradStore::open(folder).unwrap()
}

#[test]
fn every_row_knows_its_item_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let values = wild(11 * DIM, 3);
    let store = filled(folder.path(), &values);
    assert!(store.is_per_token() && store.is_complete());
    assert_eq!(store.rows(0..11).unwrap(), values);
    let places = (0..ITEMS.len()).flat_map(|item| (0..ITEMS[item]).map(move |place| (item as i64, place as i32)));
    for (row, (item, position)) in places.enumerate() {
        let info = store.info(row as u64).unwrap();
        let known = info.item.unwrap();
        assert_eq!((info.id, known.position, known.n_tokens), (item, Some(position), ITEMS[item as usize] as i32));
    }
    // What a reader of one shard sees.
    let text = std::fs::read(folder.path().join("grads-00001.safetensors")).unwrap();
    let length = u64::from_le_bytes(text[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&text[8..8 + length]).unwrap();
    let start = 8 + length + tensors["offsets"]["data_offsets"][0].as_u64().unwrap() as usize;
    let offsets: Vec<i64> = text[start..start + 24].as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    assert_eq!((tensors["offsets"]["shape"][0].as_u64(), offsets), (Some(3), vec![0, 5, 7]));
}

#[test]
fn goes_on_behind_the_last_whole_item() {
    let (whole, torn) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let values = wild(11 * DIM, 4);
    filled(whole.path(), &values);
    filled(torn.path(), &values);
    let last = torn.path().join("grads-00001.safetensors");
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, &bytes[..bytes.len() - 1]).unwrap();
    let mut writer = GradWriter::open(torn.path(), &of_tokens()).unwrap();
    assert_eq!((writer.rows(), writer.last_item()), (4, Some(1)));
    append(&mut writer, &values, 2, 4).unwrap();
    writer.finish().unwrap();
    for name in ["index.json", "grads-00000.safetensors", "grads-00001.safetensors"] {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(whole.path()) == read(torn.path()), "{name}");
    }
}

#[test]
fn rows_of_items_and_of_tokens_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &wild(11 * DIM, 5));
    let error = GradWriter::open(folder.path(), &header(Element::F32)).err().unwrap().to_string();
    assert!(error.contains("expected per_token false, found true"), "{error}");
    for (header, position) in [(of_tokens(), None), (header(Element::F32), Some(0))] {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = GradWriter::open(folder.path(), &header).unwrap();
        let row = GradRow { id: 7, loss: 0.0, n_tokens: 1, position, values: &[0.0; DIM] };
        let error = writer.append(&[row]).unwrap_err().to_string();
        assert!(error.contains("item 7: expected a position in stores of tokens' rows"), "{error}");
    }
}

#[test]
fn an_index_of_bergsons_has_the_offsets() {
    let folder = tempfile::tempdir().unwrap();
    let values = wild(11 * DIM, 6);
    let store = filled(&folder.path().join("ours"), &values);
    let out = folder.path().join("bergson");
    export(&store, ExportTo::Bergson, &out).unwrap();
    let theirs = GradStore::open(&out).unwrap();
    assert!(theirs.is_per_token());
    assert_eq!(theirs.rows(0..11).unwrap(), values);
    let ids = |store: &GradStore| (0..11).map(|row| store.info(row).unwrap().id).collect::<Vec<_>>();
    assert_eq!(ids(&theirs), ids(&store));
    let info: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("info.json")).unwrap()).unwrap();
    assert_eq!(
        (&info["attribute_tokens"], &info["num_items"], &info["num_grads"]),
        (&true.into(), &4.into(), &11.into())
    );
    for (name, broken) in [("cut", 16), ("another file", 200)] {
        let path = out.join("offsets.npy");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len().saturating_sub(broken)]).unwrap();
        let error = GradStore::open(&out).err().unwrap().to_string();
        assert!(error.contains("offsets.npy") && error.contains("'<i8'"), "{name}: {error}");
        std::fs::write(&path, bytes).unwrap();
    }
}
