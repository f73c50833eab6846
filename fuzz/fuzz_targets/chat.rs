//! Any text is a chat template: it renders, or is refused, within its fuel.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veval::text::{ChatTemplate, Message};

fuzz_target!(|source: &str| {
    let template = ChatTemplate::new(source, vec![("bos_token".into(), "<s>".into())]);
    let turns = [Message::new("system", "Be brief."), Message::new("user", "Hi <b>"), Message::new("assistant", "Yes")];
    let _ = template.render(&turns[..2], true);
    let _ = template.render(&turns, false);
});
