//! Tokens against recorded ids of real tokenizers, and the rules for special tokens on small hand-made ones.

use serde_json::{Map, Value, json};
use veval::text::{Pair, Tokenizer, encode_by_length, encode_by_offsets};

use crate::shared::shared_data;

// ------------------------------------------------------------------------------------------------ real tokenizers

/// Recording, folder under `tokenizers/`, whether BOS is asked for, cases, whether Python cleaned the decoded text.
///
/// `t5-small` is an old file whose `model` has no `type`; the library infers Unigram. The first 32,000 entries of
/// Phi-3 are Llama-2's, which puts `<s>` before a text where Phi-3 does not.
const RECORDED: &[(&str, &str, Option<bool>, usize, bool)] = &[
    ("distilgpt2", "gpt2", None, 18, true),
    ("tiiuae/falcon-7b", "falcon", None, 19, true),
    ("bert-base-uncased", "bert-base-uncased", None, 18, true),
    ("google-bert/bert-base-uncased", "bert-base-uncased", None, 18, true),
    ("t5-base", "t5-small", None, 18, true),
    ("coreml-projects/Llama-2-7b-chat-coreml", "phi-3-mini", Some(true), 18, false),
];

/// One long French text each, with the pieces as the vocabulary spells them.
const LONG: &[(&str, &str)] = &[
    ("gpt2_encoded_tokens", "gpt2"),
    ("falcon_encoded", "falcon"),
    ("bert_uncased_encoded", "bert-base-uncased"),
    ("t5_base_encoded", "t5-small"),
];

/// Most recordings were made with `clean_up_tokenization_spaces`, which transformers applies to what the tokenizers
/// library decodes. We never do: a generated answer must not lose spaces.
fn clean_up(text: &str) -> String {
    let squeeze = [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"];
    squeeze.iter().fold(text.to_owned(), |text, piece| text.replace(piece, piece.trim()))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

#[test]
fn real_tokenizers_give_the_recorded_ids() {
    let Some(shared) = shared_data() else { return };
    let real = |name: &str| Tokenizer::open(&shared.join("tokenizers").join(name)).unwrap_or_else(|e| panic!("{e}"));
    let read = |name: &str| -> Value {
        let path = shared.join("tokenizers/expected-ids").join(name).with_extension("json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let recorded = read("tokenizer_tests");
    let mut compared = 0;
    for (model, folder, add_bos, count, cleaned) in RECORDED {
        let tokenizer = real(folder).with_bos(*add_bos);
        let cases = recorded[*model].as_array().unwrap();
        assert_eq!(cases.len(), *count, "{model}");
        for case in cases {
            let input = case["input"].as_str().unwrap();
            let wanted = ids(&case["encoded"]["input_ids"]);
            assert_eq!(tokenizer.encode(input).unwrap(), wanted, "{model}: {input:?}");
            let as_recorded = |text: String| if *cleaned { clean_up(&text) } else { text };
            let ours = as_recorded(tokenizer.decode_with_specials(&wanted).unwrap());
            assert_eq!(Some(ours.as_str()), case["decoded_with_special"].as_str(), "{model}");
            let ours = as_recorded(tokenizer.decode(&wanted).unwrap());
            assert_eq!(Some(ours.as_str()), case["decoded_without_special"].as_str(), "{model}");
            compared += 1;
        }
    }
    for (name, folder) in LONG {
        let (case, tokenizer) = (read(name), real(folder));
        let input = case["text"].as_str().unwrap();
        let wanted = ids(&case["token_ids"]);
        assert_eq!(tokenizer.encode(input).unwrap(), wanted, "{name}");
        let plain = tokenizer.encode_plain(input).unwrap();
        let pieces: Vec<Value> = plain.iter().map(|id| json!(tokenizer.piece(*id))).collect();
        assert_eq!(Value::from(pieces), case["bpe_tokens"], "{name}");
        let ours = clean_up(&tokenizer.decode_with_specials(&wanted).unwrap());
        assert_eq!(Some(ours.as_str()), case["decoded_text"].as_str(), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 113);
    println!("{compared} texts have the recorded ids");
}

// ------------------------------------------------------------------------------------------------ special tokens

/// Opens a folder of a `tokenizer.json` and other files.
pub fn open(tokenizer: &Value, others: &[(&str, &str)]) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    for (name, text) in others {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Tokenizer::open(folder.path()).unwrap_or_else(|e| panic!("{e}"))
}

pub fn tokenizer_json(specials: &[&str], pre_tokenizer: Value, post_processor: Value, model: Value) -> Value {
    let added: Vec<Value> = specials
        .iter()
        .enumerate()
        .map(|(id, text)| {
            json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
           "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": null, "model": model})
}

const NOTHING: &[&str] = &[];
pub const BOS: &[&str] = &["<s>", "$A"];
const EOS: &[&str] = &["$A", "</s>"];
const BOTH: &[&str] = &["<s>", "$A", "</s>"];

/// Seven words: `<unk> <s> </s> the sky is blue` are 0 to 6. The template is what the file itself puts around a text.
pub fn words(template: &[&str]) -> Value {
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let single: Vec<Value> = template
        .iter()
        .map(|piece| match *piece {
            "$A" => sequence("A"),
            special => json!({"SpecialToken": {"id": special, "type_id": 0}}),
        })
        .collect();
    let pair: Vec<Value> = single.iter().cloned().chain([sequence("B")]).collect();
    let specials: Map<String, Value> = [("<s>", 1), ("</s>", 2)]
        .into_iter()
        .map(|(text, id)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]})))
        .collect();
    let around = json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials});
    let vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "the": 3, "sky": 4, "is": 5, "blue": 6});
    tokenizer_json(
        &["<unk>", "<s>", "</s>"],
        json!({"type": "Whitespace"}),
        if template.is_empty() { Value::Null } else { around },
        json!({"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}),
    )
}

pub const NAMED: &str = r#"{"bos_token": "<s>", "eos_token": "</s>"}"#;
const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

/// Template, `add_bos_token` of the folder, that of the user, and the ids of "the sky": lm-eval 0.4.13 with
/// `AutoTokenizer` of transformers 5.23, which does not read the folder's word where there is a `tokenizer.json`, and
/// takes the user's as one about all special tokens.
type Row = (&'static [&'static str], Option<bool>, Option<bool>, &'static [u32]);
const BOS_RULES: &[Row] = &[
    (NOTHING, None, None, &[3, 4]),
    (NOTHING, None, YES, &[1, 3, 4]),
    (NOTHING, None, NO, &[3, 4]),
    (NOTHING, YES, None, &[3, 4]),
    (NOTHING, YES, NO, &[3, 4]),
    (NOTHING, NO, None, &[3, 4]),
    (NOTHING, NO, YES, &[1, 3, 4]),
    (BOS, None, None, &[1, 3, 4]),
    (BOS, None, YES, &[1, 3, 4]),
    (BOS, None, NO, &[3, 4]),
    (BOS, YES, None, &[1, 3, 4]),
    (BOS, YES, NO, &[3, 4]),
    (BOS, NO, None, &[1, 3, 4]),
    (BOS, NO, YES, &[1, 3, 4]),
    (BOTH, None, None, &[1, 3, 4, 2]),
    (BOTH, None, YES, &[1, 3, 4]),
    (BOTH, None, NO, &[3, 4]),
    (EOS, None, None, &[3, 4, 2]),
    (EOS, None, YES, &[1, 3, 4]),
];

#[test]
fn a_beginning_of_sequence_token_is_put_once_and_when_asked() {
    for (template, folder, user, ids) in BOS_RULES {
        let mut config: Value = serde_json::from_str(NAMED).unwrap();
        if let Some(flag) = folder {
            config["add_bos_token"] = json!(flag);
        }
        let config = config.to_string();
        let tokenizer = open(&words(template), &[("tokenizer_config.json", config.as_str())]).with_bos(*user);
        let place = format!("{template:?}, folder {folder:?}, user {user:?}");
        assert_eq!(tokenizer.encode("the sky").unwrap(), *ids, "{place}");
        // A text that brings its own gets no special token at all, whoever asks.
        assert_eq!(tokenizer.encode("<s> the sky").unwrap(), [1, 3, 4], "{place}");
        assert_eq!(tokenizer.encode_plain("the sky").unwrap(), [3, 4], "{place}");
    }
}

/// `tokenizer_config.json`, `special_tokens_map.json`, `config.json`; BOS and EOS.
const NAMES: &[(&str, &str, &str, Option<u32>, Option<u32>)] = &[
    (NAMED, "{}", "{}", Some(1), Some(2)),
    (r#"{"bos_token": {"content": "<s>", "lstrip": false}}"#, "{}", "{}", Some(1), None),
    (r#"{"bos_token": null, "eos_token": "</s>"}"#, "{}", "{}", None, Some(2)),
    ("{}", r#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>"}"#, "{}", Some(1), Some(2)),
    ("{}", "{}", r#"{"bos_token_id": 1, "eos_token_id": [2, 0]}"#, Some(1), Some(2)),
    // A name without an entry says nothing; a name with one goes before the model's number.
    (r#"{"bos_token": "<bos>"}"#, "{}", r#"{"bos_token_id": 1}"#, Some(1), None),
    (r#"{"bos_token": "</s>"}"#, "{}", r#"{"bos_token_id": 1}"#, Some(2), None),
    ("{}", "{}", "{}", None, None),
];

#[test]
fn the_prefix_is_the_beginning_else_the_end_of_sequence() {
    for (config, map, model, bos, eos) in NAMES {
        let files = [("tokenizer_config.json", *config), ("special_tokens_map.json", *map), ("config.json", *model)];
        let tokenizer = open(&words(NOTHING), &files);
        assert_eq!((tokenizer.bos(), tokenizer.eos()), (*bos, *eos), "{files:?}");
        assert_eq!(tokenizer.prefix(), bos.or(*eos), "{files:?}");
        for rule in RULES {
            assert_eq!(rule(&tokenizer, "", "the").is_ok(), tokenizer.prefix().is_some(), "{files:?}");
        }
    }
}

pub type Rule = fn(&Tokenizer, &str, &str) -> veval::Result<Pair>;
pub const RULES: [Rule; 2] = [encode_by_length, encode_by_offsets];

/// Template, `tokenizer_config.json`, continuation, tokens; no tokens stand for an error.
const WITHOUT_CONTEXT: &[(&[&str], &str, &str, &[u32])] = &[
    (BOS, NAMED, "the sky", &[1, 3, 4]),
    (BOTH, NAMED, "the sky", &[1, 3, 4]),
    (NOTHING, NAMED, "the", &[1, 3]),
    // The continuation's own first token becomes the context.
    (BOS, NAMED, "<s> the sky", &[1, 3, 4]),
    (BOS, NAMED, "<s>", &[]),
    (BOS, NAMED, "", &[]),
    (BOS, NAMED, " ", &[]),
    (NOTHING, r#"{"eos_token": "</s>"}"#, "the", &[2, 3]),
    (NOTHING, r#"{"eos_token": "</s>"}"#, "</s> the", &[2, 3]),
    (NOTHING, r#"{"eos_token": "</s>"}"#, "<s> the", &[2, 1, 3]),
];

#[test]
fn without_context_the_prefix_stands_before_the_continuation() {
    for (template, config, continuation, wanted) in WITHOUT_CONTEXT {
        let tokenizer = open(&words(template), &[("tokenizer_config.json", *config)]);
        for rule in RULES {
            let pair = rule(&tokenizer, "", continuation).ok();
            let wanted = (!wanted.is_empty()).then(|| Pair { tokens: wanted.to_vec(), start: 1 });
            assert_eq!(pair, wanted, "{template:?} {config} {continuation:?}");
        }
    }
}

#[test]
fn the_length_limit_ignores_the_number_for_none() {
    let cases = [
        ("1000000000000000019884624838656", None),
        ("1e30", None),
        ("4096", Some(4096)),
        ("512.0", Some(512)),
        ("0", None),
        ("null", None),
    ];
    for (written, limit) in cases {
        let config = format!(r#"{{"model_max_length": {written}}}"#);
        let tokenizer = open(&words(NOTHING), &[("tokenizer_config.json", config.as_str())]);
        assert_eq!(tokenizer.model_max_length(), limit, "{written}");
    }
    assert_eq!(open(&words(NOTHING), &[]).model_max_length(), None);
}

#[test]
fn stored_padding_and_truncation_are_not_applied() {
    let mut file = words(NOTHING);
    file["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    file["padding"] = json!({"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                             "pad_type_id": 0, "pad_token": "<unk>"});
    assert_eq!(open(&file, &[]).encode("the sky is blue").unwrap(), [3, 4, 5, 6]);
}

#[test]
fn a_chat_template_comes_from_its_own_file_else_from_the_settings() {
    let named = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    let cases: [(&str, Option<&str>, Option<&str>); 5] = [
        (r#"{"chat_template": "one"}"#, None, Some("one")),
        (r#"{"chat_template": "one"}"#, Some("file"), Some("file")),
        (named, None, Some("d")),
        (r#"{"chat_template": [{"name": "tool_use", "template": "t"}]}"#, None, None),
        ("{}", None, None),
    ];
    for (config, file, wanted) in cases {
        let mut files = vec![("tokenizer_config.json", config)];
        files.extend(file.map(|text| ("chat_template.jinja", text)));
        let tokenizer = open(&words(NOTHING), &files);
        assert_eq!(tokenizer.chat().map(veval::text::ChatTemplate::source), wanted, "{config}");
    }
    let config = r#"{"bos_token": {"content": "<s>"}, "chat_template": "{{ bos_token }}{{ eos_token }}|"}"#;
    let tokenizer = open(&words(NOTHING), &[("tokenizer_config.json", config)]);
    assert_eq!(tokenizer.chat().unwrap().render(&[], true).unwrap(), "<s>|");
}
