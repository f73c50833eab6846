//! Noise as the web has it: adverts, prices, boilerplate, lines said twice, slips of the hand, halves of sentences. It
//! teaches nothing and costs tokens.

use super::press::Press;
use crate::lab::random::Stream;

const DOCUMENTS: usize = 2_100;
/// Fewest and most fragments of a page.
const FRAGMENTS: (usize, usize) = (5, 9);

const WARES: [&str; 20] = [
    "lamp",
    "chair",
    "kettle",
    "rug",
    "phone case",
    "sofa",
    "bike pump",
    "towel",
    "mug",
    "desk",
    "blender",
    "tent",
    "pillow",
    "printer",
    "watch",
    "shelf",
    "hose",
    "mattress",
    "toaster",
    "backpack",
];
const PRAISE: [&str; 10] = ["best", "cheap", "top", "new", "premium", "super", "ultra", "smart", "classic", "original"];
const BOILERPLATE: [&str; 14] = [
    "Home | Shop | Contact | Login",
    "Click here to read more",
    "We use cookies. Accept all?",
    "Sign up for our newsletter",
    "All rights reserved.",
    "Page not found",
    "Back to top",
    "Share this page",
    "Loading ...",
    "Terms of use apply.",
    "Add to cart",
    "Sold out",
    "Free shipping on all orders",
    "Your session has expired.",
];
const SENTENCES: [&str; 12] = [
    "I bought this last week and it broke after two days.",
    "Works fine but the box was open when it came.",
    "Does anybody know how to turn this off?",
    "You will not believe what happened next.",
    "This page was moved to another address.",
    "The link at the bottom does not work for me.",
    "Ten tips that make your home look bigger.",
    "Our team will answer within two working days.",
    "Five stars, would buy again.",
    "Please try again later or call our service.",
    "Customers who viewed this item also viewed that one.",
    "Follow the steps below to set up your account.",
];

pub(super) fn documents(press: &mut Press<'_>) {
    press.print(DOCUMENTS, |stream| {
        let mut lines = Vec::new();
        for _ in 0..stream.between(FRAGMENTS.0, FRAGMENTS.1) {
            let fragment = draw_fragment(stream);
            // Some pages say things twice.
            if stream.chance(0.15) {
                lines.push(fragment.clone());
            }
            lines.push(fragment);
        }
        lines.join("\n")
    });
}

fn draw_fragment(stream: &mut Stream) -> String {
    match stream.below(6) {
        0 => {
            let (praise, ware) = (*stream.pick(&PRAISE), *stream.pick(&WARES));
            format!("{} {ware} only {} !! Buy {praise} {ware} today", shout(stream, praise), draw_price(stream))
        }
        1 => format!("{} - {} - {} left in stock", stream.pick(&WARES), draw_price(stream), stream.below(100)),
        2 => {
            let wares = stream.sample(&WARES, 4).join(", ");
            format!("Tags: {wares}")
        }
        3 => (*stream.pick(&BOILERPLATE)).to_owned(),
        4 => slip(stream, SENTENCES),
        _ => cut(stream, SENTENCES),
    }
}

fn draw_price(stream: &mut Stream) -> String {
    format!("${}.{}9", stream.between(1, 199), stream.below(10))
}

fn shout(stream: &mut Stream, word: &str) -> String {
    if stream.chance(0.5) { word.to_uppercase() } else { word.to_owned() }
}

/// A sentence with two letters changed round.
fn slip(stream: &mut Stream, sentences: [&str; 12]) -> String {
    let mut letters: Vec<char> = stream.pick(&sentences).chars().collect();
    let place = stream.below(letters.len() - 1);
    letters.swap(place, place + 1);
    letters.into_iter().collect()
}

/// Half a sentence: its beginning or its end.
fn cut(stream: &mut Stream, sentences: [&str; 12]) -> String {
    let words: Vec<&str> = stream.pick(&sentences).split(' ').collect();
    let place = stream.between(1, words.len() - 1);
    if stream.chance(0.5) { format!("{} ..", words[..place].join(" ")) } else { words[place..].join(" ") }
}
