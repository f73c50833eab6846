//! Words of a text, so that two texts that say the same have the same words.

/// Combining diacritical marks, and what has no width or is only a hint: passed over, even within a word.
const IGNORED: [(char, char); 7] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{300}', '\u{36f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
];

/// Scripts without spaces between words: Thai to Myanmar, Khmer, kana, Chinese characters.
const UNSPACED: [(char, char); 6] = [
    ('\u{e00}', '\u{eff}'),
    ('\u{1000}', '\u{109f}'),
    ('\u{1780}', '\u{17ff}'),
    ('\u{3040}', '\u{30ff}'),
    ('\u{3400}', '\u{9fff}'),
    ('\u{20000}', '\u{3ffff}'),
];

/// Characters of compatibility that stand for another one, shifted by a constant: full-width forms of ASCII.
const FULL_WIDTH: (char, char) = ('\u{ff01}', '\u{ff5e}');
const FULL_WIDTH_SHIFT: u32 = 0xfee0;

/// Runs of letters and digits in lower case, in order.
pub(in crate::feedback) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars().map(narrow) {
        if within(&IGNORED, c) {
            continue;
        }
        let alone = within(&UNSPACED, c);
        if (alone || !c.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if alone {
            words.push(c.to_string());
        } else if c.is_alphanumeric() {
            // Lower case may bring a mark of its own: that of the dotted I of Turkish.
            word.extend(c.to_lowercase().filter(|&c| !within(&IGNORED, c)));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn narrow(c: char) -> char {
    if within(&[FULL_WIDTH], c) { char::from_u32(c as u32 - FULL_WIDTH_SHIFT).unwrap_or(c) } else { c }
}

fn within(ranges: &[(char, char)], c: char) -> bool {
    ranges.iter().any(|&(low, high)| (low..=high).contains(&c))
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn spelling_does_not_matter() {
        let plain = words("The cat sat on 12 mats");
        assert_eq!(plain, ["the", "cat", "sat", "on", "12", "mats"]);
        for other in
            ["THE  cat; sat—on\n12 (mats).", "the c\u{200b}at s\u{ad}at on 12 mats", "Ｔｈｅ cat sat on １２ mats!"]
        {
            assert_eq!(words(other), plain, "{other}");
        }
        assert_eq!(words("e\u{301}t\u{301}"), ["et"]);
        assert_eq!(words("\u{130}X"), ["ix"]);
    }

    #[test]
    fn scripts_without_spaces_give_a_word_for_each_character() {
        assert_eq!(words("猫 is 動物abc"), ["猫", "is", "動", "物", "abc"]);
        assert!(words(" ... \u{feff}").is_empty());
    }
}
