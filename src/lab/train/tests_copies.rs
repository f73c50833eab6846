//! Copies from both kinds of files.

use super::*;

fn corpus(count: usize) -> Vec<DocumentName> {
    (0..count).map(|number| DocumentName { source: "s".into(), id: number.to_string() }).collect()
}

fn read(name: &str, content: &[u8]) -> Result<Copies> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    Copies::read(&path, 7)
}

#[test]
fn whole_copies_by_name_and_by_row() {
    let lines = r#"{"doc_id": "1", "source": "s", "copies": 9.5, "copies_int": 3, "value": 0.1}
{"doc_id": 0, "source": "s", "copies_int": 0}
{"doc_id": "2", "source": "s", "copies": 2.0, "copies_int": null}
"#;
    assert_eq!(read("values.jsonl", lines.as_bytes()).unwrap().of(&corpus(3)).unwrap(), [0, 3, 2]);
    let table = b"source,doc_id,copies_int,copies\ns,0,1,\ns,1,,2\n";
    assert_eq!(read("values.csv", table).unwrap().of(&corpus(2)).unwrap(), [1, 2]);
    let repeats = read("repeats.bin", &[2, 0, 0, 0, 1, 1]).unwrap();
    assert_eq!(repeats.of(&corpus(3)).unwrap(), [2, 0, 257]);
    assert!(repeats.of(&corpus(2)).unwrap_err().to_string().contains("each of 2 documents, found 3"));
    assert_eq!(Copies::One.of(&corpus(2)).unwrap(), [1, 1]);
}

#[test]
fn fractions_are_rounded_by_a_hash_and_right_on_average() {
    let row = |id: usize| serde_json::json!({"doc_id": id.to_string(), "source": "s", "copies": 1.3});
    let rows: Vec<Row> = (0..20_000).map(|id| row(id).as_object().unwrap().clone()).collect();
    let of = |seed, rows: &[Row]| Copies::values(rows, seed).unwrap().of(&corpus(20_000)).unwrap();
    let found = of(7, &rows);
    assert!(found.iter().all(|&count| count == 1 || count == 2));
    let mean = f64::from(found.iter().sum::<u32>()) / 20_000.0;
    // Four standard errors.
    assert!((mean - 1.3).abs() < 4.0 * (0.3f64 * 0.7 / 20_000.0).sqrt(), "{mean}");
    let mut turned = rows.clone();
    turned.reverse();
    assert_eq!(of(7, &turned), found, "the order of rows does not matter");
    assert_ne!(of(8, &rows), found);
}

#[test]
fn hostile_files_are_refused_with_all_their_problems() {
    let lines = r#"{"doc_id": "0", "source": "s", "copies_int": 1}
{"doc_id": "0", "source": "s", "copies_int": 1}
{"doc_id": "1", "source": "s", "copies_int": 1.5}
{"doc_id": "2", "source": "s", "copies": -1}
{"doc_id": "3", "source": "s", "copies": 1e9}
{"doc_id": "4", "source": "s", "copies": "NaN"}
{"doc_id": "5", "copies": 1}
{"doc_id": [5], "source": "s", "copies": 1}
{"doc_id": "6", "source": "s"}
"#;
    let error = read("values.jsonl", lines.as_bytes()).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.diagnostics().len(), 8, "{text}");
    assert!(text.contains("values.jsonl, row 2: expected each document once, found \"0\" of \"s\" again"), "{text}");
    assert!(text.contains("row 5: expected a number from 0 to 32767 in the column copies, found"), "{text}");

    assert!(read("repeats.bin", &[1, 0, 1]).unwrap_err().to_string().contains("found 3 bytes"));
    let negative = read("repeats.bin", &[0xff, 0xff].repeat(30)).unwrap_err();
    assert_eq!(negative.diagnostics().len(), 21);
    assert!(negative.to_string().contains("and 10 more"), "{negative}");
}

#[test]
fn files_of_another_corpus_are_refused() {
    let lines = r#"{"doc_id": "0", "source": "s", "copies_int": 1}
{"doc_id": "1", "source": "other", "copies_int": 1}
"#;
    let text = read("values.jsonl", lines.as_bytes()).unwrap().of(&corpus(2)).unwrap_err().to_string();
    assert!(text.contains("source s: expected a row for each document, found none for \"1\""), "{text}");
    assert!(text.contains("source other: expected documents of the corpus, found \"1\""), "{text}");
}
