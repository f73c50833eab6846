//! Text inside HTML and SVG.

/// A text that cannot end the element or the attribute it stands in.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sign_of_markup_is_left() {
        assert_eq!(escape("<a b='c'>\"&amp;\""), "&lt;a b=&#39;c&#39;&gt;&quot;&amp;amp;&quot;");
        assert_eq!(escape("plain"), "plain");
    }
}
