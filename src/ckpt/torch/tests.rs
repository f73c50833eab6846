//! The fixtures of `tests/oracle/torch_files.py`, cut and changed in every way, and archives built here.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torchbin")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// The names of the files that torch wrote and their expected values.
fn good_files() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_suffix(".expected")?.to_owned();
            Some((name, std::fs::read_to_string(&path).unwrap()))
        })
        .collect();
    found.sort();
    assert_eq!(found.len(), 10);
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A file as the oracle writes it down.
fn described(file: &TorchFile) -> Vec<String> {
    let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let mut lines: Vec<String> = file
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            let (dtype, shape, strides) = (tensor.dtype.name(), list(&tensor.shape), list(&tensor.strides));
            let bytes = file.read(name).unwrap();
            assert_eq!(bytes.len(), tensor.elements() * tensor.dtype.bytes());
            format!("{name}\t{dtype}\t{shape}\t{strides}\t{}\t{}", tensor.storage_offset, hex(&bytes))
        })
        .collect();
    lines.extend(file.scalars().iter().map(|(name, value)| match value {
        Scalar::None => format!("{name}\tnone"),
        Scalar::Bool(value) => format!("{name}\tbool\t{}", u8::from(*value)),
        Scalar::Int(value) => format!("{name}\tint\t{value}"),
        Scalar::Float(value) => format!("{name}\tfloat\t{:016x}", value.to_bits()),
        Scalar::Text(text) => format!("{name}\ttext\t{}", hex(text.as_bytes())),
    }));
    lines.extend(file.opaque().iter().map(|(name, label)| format!("{name}\topaque\t{label}")));
    lines.sort();
    lines
}

#[test]
fn files_of_torch_are_read_as_torch_reads_them() {
    for (name, expected) in good_files() {
        let file = TorchFile::open(&folder().join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut expected: Vec<&str> = expected.lines().collect();
        expected.sort_unstable();
        assert_eq!(described(&file), expected, "{name}");
        assert_eq!(described(&TorchFile::from_bytes(fixture(&name)).unwrap()), expected, "{name} from memory");
    }
}

#[test]
fn tied_tensors_share_a_storage() {
    let file = TorchFile::open(&folder().join("state.bin")).unwrap();
    let storage = |name: &str| file.get(name).unwrap().storage.clone();
    assert_eq!(storage("lm_head.weight"), storage("model.embed.weight"));
    assert_eq!(storage("rows"), storage("transposed"));
    assert_ne!(storage("scalar"), storage("base"));
}

#[test]
fn hostile_files_are_refused_in_words_or_yield_their_one_tensor() {
    let list = std::fs::read_to_string(folder().join("hostile.tsv")).unwrap();
    assert!(list.lines().count() > 80);
    for line in list.lines() {
        let (name, message) = line.split_once('\t').unwrap();
        match (TorchFile::from_bytes(fixture(name)), message) {
            (Ok(file), "") => {
                assert_eq!(file.tensors().keys().collect::<Vec<_>>(), ["ok"], "{name}");
                assert_eq!(file.read("ok").unwrap(), [1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat(), "{name}");
            }
            (Ok(_), _) => panic!("{name} was read, expected: {message}"),
            (Err(error), "") => panic!("{name}: {error}"),
            (Err(error), _) => assert!(error.message.contains(message), "{name}: {error}, expected: {message}"),
        }
    }
    assert!(!Path::new("/tmp/torchbin_was_executed").exists());
}

#[test]
fn objects_that_execute_are_listed_by_name() {
    let label = |name: &str| {
        let opaque = TorchFile::from_bytes(fixture(name)).unwrap().opaque().clone();
        opaque.into_values().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(label("system.bad"), "os.system");
    assert_eq!(label("eval.bad"), "builtins.eval");
    assert_eq!(label("getattr_chain.bad"), "builtins.getattr");
    assert_eq!(label("newobj.bad"), "subprocess.Popen");
    assert_eq!(label("from_type_class.bad"), "os.system");
    assert_eq!(label("cycle.bad"), "a container within itself");
}

#[test]
fn files_cut_anywhere_are_refused() {
    for (name, _) in good_files() {
        let bytes = fixture(&name);
        for length in 0..bytes.len() {
            assert!(TorchFile::from_bytes(bytes[..length].to_vec()).is_err(), "{name} cut to {length} bytes");
        }
    }
}

#[test]
fn a_file_that_shrinks_after_opening_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("shrinks.bin");
    std::fs::copy(folder().join("module.bin"), &path).unwrap();
    let file = TorchFile::open(&path).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    let error = file.read("embed.weight").unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(error.at, "tensor embed.weight");
    assert!(error.message.starts_with("failed to read 24 bytes"), "{error}");
    assert_eq!(file.read("other").unwrap_err().to_string(), "tensor other: expected a tensor of this name, found none");
    assert!(TorchFile::open(scratch.path()).unwrap_err().message.contains("expected a file"));
    assert!(TorchFile::open(&path).unwrap_err().message.contains("failed to open"));
}

/// A stored archive of these entries, with zip64 records where `wide`.
fn archive(entries: &[(&str, &[u8])], wide: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for (name, data) in entries {
        let header = bytes.len();
        let size = if wide { u32::MAX } else { data.len() as u32 };
        // Flags, method, time, date, checksum, both sizes, the lengths of the name and the extra field.
        let form = |extra: u16| {
            let mut form = vec![0; 12];
            form.extend([size, size].iter().flat_map(|x| x.to_le_bytes()));
            form.extend([name.len() as u16, extra].iter().flat_map(|x| x.to_le_bytes()));
            form
        };
        bytes.extend(b"PK\x03\x04\x2d\0");
        bytes.extend(form(0));
        bytes.extend(name.as_bytes());
        bytes.extend(*data);
        directory.extend(b"PK\x01\x02\x2d\0\x2d\0");
        directory.extend(form(if wide { 28 } else { 0 }));
        directory.extend([0; 10]);
        directory.extend(if wide { u32::MAX } else { header as u32 }.to_le_bytes());
        directory.extend(name.as_bytes());
        if wide {
            directory.extend([1, 0, 24, 0]);
            directory.extend([data.len(), data.len(), header].iter().flat_map(|&x| (x as u64).to_le_bytes()));
        }
    }
    let start = bytes.len();
    bytes.extend(&directory);
    if wide {
        let end = bytes.len() as u64;
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44u64.to_le_bytes());
        bytes.extend([0; 12]);
        let numbers = [entries.len(), entries.len(), directory.len(), start];
        bytes.extend(numbers.iter().flat_map(|&x| (x as u64).to_le_bytes()));
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(end.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
    }
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    let narrow = |x: usize| if wide { u32::MAX } else { x as u32 };
    bytes.extend([narrow(entries.len()) as u16; 2].iter().flat_map(|x| x.to_le_bytes()));
    bytes.extend([narrow(directory.len()), narrow(start)].iter().flat_map(|x| x.to_le_bytes()));
    bytes.extend([0; 2]);
    bytes
}

fn open_pickle(pickle: &[u8]) -> Result<TorchFile> {
    TorchFile::from_bytes(archive(&[("x/data.pkl", pickle), ("x/data/0", &[0; 16])], false))
}

#[test]
fn sizes_of_64_bits_are_read() {
    let pickle = b"\x80\x02K\x07.";
    for wide in [false, true] {
        let bytes = archive(&[("x/data.pkl", pickle), ("x/data/0", &[1, 2])], wide);
        let file = TorchFile::from_bytes(bytes.clone()).unwrap();
        assert_eq!(file.scalars()[""], Scalar::Int(7));
        // Every bit of the archive but those of the data, the times and the checksums is looked at or without meaning.
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            drop(TorchFile::from_bytes(changed));
        }
    }
    let message = |bytes: Vec<u8>| TorchFile::from_bytes(bytes).unwrap_err().message;
    let mut wide = archive(&[("x/data.pkl", pickle)], true);
    let end = wide.len();
    wide[end - 14..end - 10].copy_from_slice(&[2, 0, 2, 0]);
    assert!(message(wide).contains("expected the same central directory in both end records"));
    let mut wide = archive(&[("x/data.pkl", pickle)], true);
    let at = wide.windows(4).position(|x| x == [1, 0, 24, 0]).unwrap();
    wide[at] = 2;
    assert!(message(wide.clone()).contains("expected 64-bit sizes in an extra field, found none"));
    wide[at] = 1;
    wide[at + 4..at + 28].fill(0xff);
    assert!(message(wide).contains("found a file of"));
}

#[test]
fn millions_of_levels_cost_no_stack() {
    let levels = 2_000_000;
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("tuples", [b"\x80\x02N".to_vec(), vec![0x85; levels], b".".to_vec()].concat(), "at most 64 containers"),
        ("reduced", [b"\x80\x02ca\nb\n".to_vec(), b")R".repeat(levels), b".".to_vec()].concat(), ""),
        (
            "lists",
            [b"\x80\x02".to_vec(), b"]".repeat(levels), b"a".repeat(levels - 1), b".".to_vec()].concat(),
            "at most 64 containers",
        ),
        ("values", [b"\x80\x02".to_vec(), b"]0".repeat(9_000_000), b"N.".to_vec()].concat(), "at most 8388608 values"),
    ];
    for (name, pickle, expected) in cases {
        match open_pickle(&pickle) {
            Ok(_) => assert_eq!(expected, "", "{name}"),
            Err(error) => assert!(!expected.is_empty() && error.message.contains(expected), "{name}: {error}"),
        }
    }
}

#[test]
fn every_bound_is_kept() {
    let repeated = |unit: &[u8], count: usize, end: &[u8]| [b"\x80\x02", unit.repeat(count).as_slice(), end].concat();
    let million = [b"X\x40\x42\x0f\0".to_vec(), vec![b'k'; 1_000_000]].concat();
    let cases: [(Vec<u8>, &str); 7] = [
        (
            // A dict of a long key, in a list again and again.
            [b"\x80\x02}q\0".to_vec(), million.clone(), b"}s0](".to_vec(), b"h\0".repeat(1_000_000), b"e.".to_vec()]
                .concat(),
            "expected names and texts in proportion to the pickle",
        ),
        (
            [b"\x80\x02cos\n".to_vec(), vec![b'a'; 2000], b"\n.".to_vec()].concat(),
            "expected the name of a class of at most 1024 bytes, found 2000",
        ),
        (repeated(b"N", 5_000_000, b"."), "expected a stack of at most 4194304 values"),
        (repeated(b"Nq\x01h\x01h\x01h\x01\x87", 6_000_000, b"."), "expected a stack of at most"),
        (repeated(b"(", 10_001, b"."), "expected at most 10000 open containers"),
        ([b"\x80\x02X\0\0\0\x02".to_vec(), vec![b'a'; 32 << 20], b".".to_vec()].concat(), "at most 16777216 bytes"),
        (
            // One tuple of a thousand, appended to a list again and again.
            [b"\x80\x02(".to_vec(), b"N".repeat(1000), b"tq\0]".to_vec(), b"ctorch\nSize\nh\0\x85Ra".repeat(20_000)]
                .concat(),
            "expected containers of at most 16777216 items",
        ),
    ];
    for (pickle, expected) in cases {
        let error = open_pickle(&pickle).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
        assert!(!error.at.is_empty() && error.at.len() < 300, "{error}");
    }
}

#[test]
fn later_keys_replace_earlier_ones() {
    let file = open_pickle(b"\x80\x02}(U\x01aK\x01U\x01bK\x02U\x01aK\x03u.").unwrap();
    assert_eq!(file.scalars()["a"], Scalar::Int(3));
    // The number 1 and the text "1" are two keys of one path.
    let error = open_pickle(b"\x80\x02}(K\x01NU\x011Nu.").unwrap_err();
    assert_eq!(error.to_string(), "value 1: expected one value of this name, found two");
    let file = open_pickle(b"\x80\x02}(NK\x01K\x02K\x02u.").unwrap();
    assert_eq!(file.opaque()["(key 0)"], "a value under a key that is no text or whole number");
    // OrderedDict as Python 2 wrote it, of pairs.
    let file = open_pickle(b"\x80\x02ccollections\nOrderedDict\n](]U\x01aK\x01\x86\x85e\x85R.");
    assert!(file.is_err());
    let file = open_pickle(b"\x80\x02ccollections\nOrderedDict\n](U\x01aK\x01\x86](U\x01bK\x02ee\x85R.").unwrap();
    assert_eq!((&file.scalars()["a"], &file.scalars()["b"]), (&Scalar::Int(1), &Scalar::Int(2)));
}
