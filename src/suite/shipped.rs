//! Task files that come with the program, by name.

/// One shipped task file.
pub struct ShippedTask {
    pub name: &'static str,
    /// Within the repository.
    pub path: &'static str,
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal)*) => {
        /// All of them.
        pub const TASKS: &[ShippedTask] = &[$(ShippedTask {
            name: $name,
            path: concat!("suites/tasks/", $name, ".toml"),
            text: include_str!(concat!("../../suites/tasks/", $name, ".toml")),
        }),*];
    };
}

shipped! {
    "arc_challenge" "arc_easy" "blimp" "boolq" "commonsense_qa" "copa" "gsm8k" "hellaswag" "lambada_openai" "mmlu"
    "mmlu_continuation" "nq_open" "openbookqa" "openbookqa_fact" "piqa" "race" "sciq" "social_iqa" "svamp" "texts"
    "triviaqa" "truthfulqa_mc1" "truthfulqa_mc2" "wikitext" "winogrande"
}

pub fn find(name: &str) -> Option<&'static ShippedTask> {
    TASKS.iter().find(|task| task.name == name)
}
