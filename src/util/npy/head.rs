//! The head of a file of numpy: a line of text about the array, before its elements.

/// Magic, version 1.0 and the length of the text.
const BEFORE_TEXT: usize = 10;

/// The head of an array of version 1.0: `descr` is numpy's name of the element, such as `<f4`. At least `least` bytes, a
/// multiple of 64 as numpy has it, so that a head with room can be written anew when its array has grown.
pub fn head(descr: &str, shape: &[u64], least: usize) -> Vec<u8> {
    let lengths: Vec<String> = shape.iter().map(|length| format!("{length},")).collect();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", lengths.join(" "));
    let length = (BEFORE_TEXT + text.len() + 1).max(least).next_multiple_of(64) - BEFORE_TEXT;
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend((length as u16).to_le_bytes());
    head.extend(format!("{text:<width$}\n", width = length - 1).bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_numpys() {
        // numpy.lib.format of version 1.0 for an array of shape (3,) and type <f4, padded to 128 bytes.
        let found = head("<f4", &[3], 0);
        assert_eq!(found.len(), 128);
        assert_eq!(&found[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&found[10..]).unwrap();
        assert_eq!(text.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }");
        assert!(text.ends_with(" \n"));
        assert_eq!(head("<u8", &[u64::MAX], 128).len(), 128);
        assert!(head("<f4", &[u64::MAX; 9], 0).len().is_multiple_of(64));
    }
}
