//! Thirteen words in a row: which items have one in common, and whether a text has one of a sealed item.

use super::sides::OwnFields;
use super::words::words;

/// As the reports on GPT-3 and its successors count overlap (Brown et al. 2020, appendix C).
pub const GRAM_WORDS: usize = 13;
/// A gram that more items have than this share of them, and than [`COMMON_ITEMS`], is wording and no content.
const COMMON_SHARE: f64 = 0.01;
/// Of few items one per cent is less than two, and no pair would ever be found.
const COMMON_ITEMS: usize = 10;

/// Hashes of an item's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ItemGrams {
    /// Of everything, field by field.
    pub whole: u64,
    /// Of 13 words in a row, sorted, each once.
    pub grams: Vec<u64>,
}

impl ItemGrams {
    /// `None` for an item without a word.
    pub fn of(fields: &OwnFields) -> Option<Self> {
        let mut all = Vec::new();
        let mut grams = Vec::new();
        for text in fields.texts() {
            let words = words(text);
            grams.extend(words.windows(GRAM_WORDS).map(|gram| hash("gram", gram)));
            all.extend(words);
        }
        grams.sort_unstable();
        grams.dedup();
        (!all.is_empty()).then(|| Self { whole: hash("item", &all), grams })
    }
}

/// Words hold no spaces, so a space between them keeps lists apart.
fn hash(kind: &str, words: &[String]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes());
    for word in words {
        hasher.update(b" ");
        hasher.update(word.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// What a text and a sealed item have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overlap {
    /// All words, in order.
    Content,
    /// 13 words in a row of a field.
    Gram,
}

/// What sealed items are known by: hashes, of which no text can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedGrams {
    /// Hash and the number of the item, sorted.
    wholes: Vec<(u64, u32)>,
    grams: Vec<(u64, u32)>,
}

impl SealedGrams {
    /// `items`: all of them; `sealed`: whether each is.
    pub(super) fn new(items: &[ItemGrams], sealed: impl Fn(usize) -> bool) -> Self {
        let mut all: Vec<(u64, u32)> = Vec::with_capacity(items.iter().map(|item| item.grams.len()).sum());
        for (number, item) in items.iter().enumerate() {
            all.extend(item.grams.iter().map(|&gram| (gram, number as u32)));
        }
        all.sort_unstable();
        let common = COMMON_ITEMS.max((items.len() as f64 * COMMON_SHARE).floor() as usize);
        let rare = all.chunk_by(|a, b| a.0 == b.0).filter(|items| items.len() <= common);
        let first_sealed = |items: &[(u64, u32)]| items.iter().copied().find(|&(_, number)| sealed(number as usize));
        let grams = rare.filter_map(first_sealed).collect();
        let mut wholes: Vec<(u64, u32)> = (0..items.len())
            .filter(|&number| sealed(number))
            .map(|number| (items[number].whole, number as u32))
            .collect();
        wholes.sort_unstable();
        Self { wholes, grams }
    }

    /// What a text's own fields share with a sealed item, and the number of that item among those that were split.
    pub fn overlap(&self, fields: &OwnFields) -> Option<(Overlap, usize)> {
        self.overlap_of(&ItemGrams::of(fields)?)
    }

    pub(super) fn overlap_of(&self, item: &ItemGrams) -> Option<(Overlap, usize)> {
        let find = |list: &[(u64, u32)], hash: u64| {
            let at = list.partition_point(|&(other, _)| other < hash);
            list.get(at).filter(|&&(other, _)| other == hash).map(|&(_, number)| number as usize)
        };
        let whole = find(&self.wholes, item.whole).map(|number| (Overlap::Content, number));
        let gram = || item.grams.iter().find_map(|&gram| find(&self.grams, gram)).map(|number| (Overlap::Gram, number));
        whole.or_else(gram)
    }
}
