//! What is found, and what is the same.

use std::sync::LazyLock;

use super::{Extractor, Finding, Target, extractive_match};

const LATEX: Target = Target::Latex { boxed_first: false };

static BOTH: LazyLock<Extractor> = LazyLock::new(|| Extractor::new(&[Target::Plain, LATEX]));

fn same(gold: &str, answer: &str) -> bool {
    extractive_match((&BOTH, &[gold]), (&BOTH, answer), 6)
}

fn letter(text: &str, anywhere: bool) -> Option<String> {
    match Extractor::new(&[Target::Letter { choices: 4, anywhere }]).find(text).into_iter().next() {
        Some(Finding::Text(letter)) => Some(letter),
        _ => None,
    }
}

#[test]
fn letters_by_priority() {
    assert_eq!(letter("I think C. The answer is (B). Not A.", true).as_deref(), Some("B"));
    assert_eq!(letter("Answer: D\nFinal answer is A", false).as_deref(), Some("A"));
    assert_eq!(letter("**B**", false).as_deref(), Some("B"));
    assert_eq!(letter("first line\nC: because", false).as_deref(), Some("C"));
    assert_eq!(letter("It is C", false), None);
    assert_eq!(letter("It is C", true).as_deref(), Some("C"));
    // The last match of a priority counts, and only letters of choices do.
    assert_eq!(letter("answer: A. No, the answer: B.", false).as_deref(), Some("B"));
    assert_eq!(letter("E", true), None);
    assert!(Extractor::new(&[Target::Letter { choices: 0, anywhere: true }]).find("A").is_empty());
}

#[test]
fn numbers_in_text() {
    for (gold, answer) in [
        ("1234", "So it is 1,234 dollars"),
        ("1234.5", "The answer: 7 + 3 = 1,234.50"),
        ("0.2", "20%"),
        ("3/4", "that makes 0.75"),
        ("42", "Final answer is 42. I hope it is correct."),
        ("7", "007"),
        ("-2", "It is -2"),
        ("8", "Answer: 2*(3+1)"),
        ("16", "2**4 "),
        ("$100", "100 euros"),
    ] {
        assert!(same(gold, answer), "{gold} and {answer}");
    }
    for (gold, answer) in [("4", "5"), ("3", "XDY3K"), ("1/3", "0.3"), ("1/0", "0"), ("2", "none")] {
        assert!(!same(gold, answer), "{gold} and {answer}");
    }
    // Six digits after the point are compared.
    assert!(same("1/3", "0.3333333") && !same("1/3", "0.33333"));
}

#[test]
fn latex_as_rational_functions() {
    for (gold, answer) in [
        (r"$\frac{n(n+1)}{2}$", "$n(n+1)/2$"),
        (r"$(x+1)^2$", r"so $x^2 + 2x + 1$"),
        (r"$\frac{x^2-1}{x-1}$", "$1+x$"),
        (r"$x^{-2}$", r"$\dfrac{1}{x^2}$"),
        (r"$\frac12$", r"\(0.5\)"),
        (r"$\sqrt{9}$", "$3$"),
        (r"$\sqrt{b^2-4ac}$", r"$\sqrt{-4 a c + b^{2}}$"),
        (r"$x = 5$", r"\[ 5 \]"),
        (r"$5$", r"$x = 2 + 3 = 5$"),
        (r"$y = 2x$", r"$2x - y = 0$"),
        (r"$\sin(2x)$", r"$\sin(x+x)$"),
        (r"$1,234$", r"$1234$"),
        (r"$50\%$", r"$\frac{1}{2}$"),
        (r"$3$ and $4$", r"$4$ or $3$"),
        (r"$\text{north}$", r"$\text{ north }$"),
        (r"$x_1$", r"$x_{1}$"),
        (r"$2\sqrt{2}$", r"$\sqrt{8}$"),
        (r"$\frac{1}{\sqrt{2}}$", r"$\frac{\sqrt{2}}{2}$"),
        (r"$\sqrt{12x^2}$", r"$2x\sqrt{3}$"),
        (r"$\sqrt[3]{-8}$", "$-2$"),
        (r"$x^{2/3}$", r"$\sqrt[3]{x^2}$"),
        (r"$\sqrt{x}^4$", "$x^2$"),
        (r"$(\sqrt{5}-\sqrt{3})(\sqrt{5}+\sqrt{3})$", "$2$"),
        (r"$e^{x}$", r"$\exp(x)$"),
        ("$5!$", "$120$"),
        (r"$1{,}000$", "$1000$"),
        ("$x+y=1$", "$1$"),
        (r"$90^\circ$", r"$90$"),
        (r"$2$", r"We get \boxed{2} from $7$"),
        (r"$[1, 2)$", r"$[1, 2)$"),
    ] {
        assert!(same(gold, answer), "{gold} and {answer}");
    }
    for (gold, answer) in [
        (r"$a \pm b$", "$a + b$"),
        (r"$\pi$", "$3.14159$"),
        ("$2x=1$", "$1$"),
        (r"$\sqrt{-4}$", "$2$"),
        (r"$\sqrt{-x}$", r"$\sqrt{x}$"),
        (r"$\sqrt{2}$", r"$\sqrt{3}$"),
        (r"$\sqrt{2}$", r"$-\sqrt{2}$"),
        (r"$\sqrt{a+b}$", r"$\sqrt{a}+\sqrt{b}$"),
        (r"$x^2$", "$x$"),
        (r"$0$", r"$\infty$"),
        (r"$3$ and $4$", "$3$"),
        (r"$\frac{1}{0}$", "$0$"),
        (r"$\sin(x)$", r"$\cos(x)$"),
        (r"$x_1$", "$x_2$"),
        (r"$[1, 2)$", r"$[1, 2]$"),
    ] {
        assert!(!same(gold, answer), "{gold} and {answer}");
    }
}

#[test]
fn hostile_texts_end() {
    let extractor = Extractor::new(&[Target::Plain, LATEX, Target::Letter { choices: 26, anywhere: true }]);
    for text in ["(".repeat(5000), format!("${}x$", "{".repeat(5000)), "$-".repeat(3000), "answer 1 = ".repeat(500)] {
        extractor.find(&text);
    }
    assert!(!extractor.find(&format!("${}$", "-".repeat(5000) + "1")).is_empty());
    assert!(!extractor.find(&format!("$2^{{{}}}$", "9^".repeat(40) + "9")).is_empty());
}
