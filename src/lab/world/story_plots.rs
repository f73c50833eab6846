//! What happens in stories. `{a}` and `{b}` are two people, `{thing}`, `{place}` and `{weather}` words of the lists below;
//! see [`super::template`] for the cases. No word here is a name of anything in the world, and no fact is stated.

/// A step of a story.
#[derive(Debug, Clone, Copy)]
pub(super) enum Beat {
    /// One of these.
    Say(&'static [&'static str]),
    /// A fact on the first person, if the story has one.
    AboutFirst,
    /// A fact on the second person, if the story has one.
    AboutSecond,
}

/// A kind of story.
#[derive(Debug)]
pub(super) struct Plot {
    /// With `{Thing}` or `{Place}`, in capitals.
    pub title: &'static str,
    pub beats: &'static [Beat],
}

pub(super) const THINGS: &[&str] =
    &["kite", "ball", "drum", "boat", "hat", "bell", "lamp", "basket", "key", "map", "letter", "ring", "cup", "box"];
pub(super) const PLACES: &[&str] =
    &["hill", "lake", "barn", "bridge", "garden", "field", "forest", "river", "market", "beach", "well", "tower"];
pub(super) const WEATHERS: &[&str] = &["sunny", "windy", "rainy", "cold", "warm", "cloudy"];

const OPENING: Beat = Beat::Say(&[
    "One {weather} day {a} went to the {place}.",
    "One {weather} morning {a} walked to the {place}.",
    "The day was {weather} and {a} wanted to see the {place}.",
    "On a {weather} evening {a} sat near the {place}.",
    "{a} went out early. The day was {weather}.",
]);
const MEETING: Beat = Beat::Say(&[
    "There {a} met {b}.",
    "Then {b} came by.",
    "{b} was there too.",
    "{a} heard a voice. The voice was that of {b:name}.",
    "Soon {b} came along the road.",
]);
const HAPPY_END: Beat = Beat::Say(&[
    "They went home together and they were happy.",
    "From that day on they were good friends.",
    "They laughed all the way home.",
    "At night {a} slept well.",
    "{a} never forgot that day.",
    "In the evening they sat by the fire and told jokes.",
]);
const THANKS: Beat = Beat::Say(&[
    "\"Thank you,\" said {a:name}.",
    "{a} thanked {b:him} again and again.",
    "\"You are a true friend,\" said {a:name}.",
    "\"What can I give you?\" asked {a:name}. \"Nothing,\" said {b:name}.",
]);

pub(super) const PLOTS: &[Plot] = &[
    Plot {
        title: "The Lost {Thing}",
        beats: &[
            OPENING,
            Beat::AboutFirst,
            Beat::Say(&[
                "But {a:his} {thing} was gone.",
                "{a} had a {thing}, but now the {thing} was lost.",
                "{a} looked for {a:his} {thing} and could not find the {thing}.",
            ]),
            Beat::Say(&["{a} began to cry.", "{a} looked under every stone.", "{a} was very sad."]),
            MEETING,
            Beat::AboutSecond,
            Beat::Say(&[
                "\"Why are you sad, {a:call}?\" asked {b:name}.",
                "\"Can I help you, {a:call}?\" asked {b:name}.",
                "\"What did you lose?\" asked {b:name}.",
            ]),
            Beat::Say(&[
                "\"I lost my {thing},\" said {a:name}.",
                "\"My {thing} is gone,\" {a} said.",
                "{a} told {b:him} about the {thing}.",
            ]),
            Beat::Say(&[
                "They looked and looked, and {b} found the {thing} behind a tree.",
                "{b} climbed up and saw the {thing} in the grass.",
                "Then {b} laughed. The {thing} was on top of a wall.",
            ]),
            THANKS,
            HAPPY_END,
        ],
    },
    Plot {
        title: "The {Thing} of a Friend",
        beats: &[
            OPENING,
            Beat::AboutFirst,
            Beat::Say(&[
                "{a} carried a new {thing}.",
                "{a} had made a {thing} for a friend.",
                "{a} held a big {thing} in {a:his} hands.",
            ]),
            MEETING,
            Beat::AboutSecond,
            Beat::Say(&[
                "\"What a fine {thing}!\" said {b:name}.",
                "\"I wish I had a {thing} like that,\" said {b:name}.",
                "\"May I hold the {thing}?\" asked {b:name}.",
            ]),
            Beat::Say(&[
                "\"The {thing} is for you, {b:call},\" said {a:name}.",
                "{a} smiled and gave {b:him} the {thing}.",
                "\"We can share,\" {a} said.",
            ]),
            Beat::Say(&["{b} jumped for joy.", "{b} could not believe {b:his} eyes.", "{b} was proud and happy."]),
            HAPPY_END,
        ],
    },
    Plot {
        title: "The Race to the {Place}",
        beats: &[
            Beat::Say(&[
                "{a} was the fastest runner of the street.",
                "{a} liked to run more than anything.",
                "Every day {a} ran from the door to the {place}.",
            ]),
            Beat::AboutFirst,
            Beat::Say(&["\"Nobody is as fast as me,\" {a} said.", "\"Who wants to run with me?\" asked {a:name}."]),
            Beat::Say(&["\"I do,\" said {b:name}.", "\"Let us see,\" said {b:name}.", "{b} wanted to try."]),
            Beat::AboutSecond,
            Beat::Say(&[
                "They ran to the {place} as fast as the wind.",
                "One, two, three, and off they ran to the {place}.",
            ]),
            Beat::Say(&[
                "Near the {place} {a} fell over a stone.",
                "Half way {a} stopped to pick a flower.",
                "Then {a} lost a shoe.",
            ]),
            Beat::Say(&[
                "{b} stopped and helped {a:him} up. Nobody won.",
                "{b} did not run on. \"A friend is better than a race,\" {b} said.",
                "{b} waited, and they walked the last steps side by side.",
            ]),
            HAPPY_END,
        ],
    },
    Plot {
        title: "The Storm at the {Place}",
        beats: &[
            OPENING,
            Beat::AboutFirst,
            Beat::Say(&[
                "Then a storm came up over the {place}.",
                "Suddenly the sky was dark.",
                "Big drops of rain began to fall.",
            ]),
            Beat::Say(&["{a} was afraid.", "{a} did not know the way home.", "{a} hid under a tree."]),
            Beat::Say(&[
                "Far away {a} saw a light. The light came from the house of {b:name}.",
                "\"Come in, {a:call}!\" called {b:name} from a window.",
                "{b} came with a big lamp.",
            ]),
            Beat::AboutSecond,
            Beat::Say(&[
                "{b} gave {a:him} hot tea and a dry shirt.",
                "They sat by the fire until the storm was over.",
                "{b} told a long story, and {a} forgot the storm.",
            ]),
            THANKS,
            HAPPY_END,
        ],
    },
    Plot {
        title: "The Secret {Thing}",
        beats: &[
            Beat::Say(&[
                "{a} found a {thing} near the {place}.",
                "One {weather} day {a} saw a {thing} in the grass.",
                "Under a stone at the {place} {a} found an old {thing}.",
            ]),
            Beat::AboutFirst,
            Beat::Say(&[
                "\"Whose {thing} is this?\" {a} asked.",
                "{a} wanted to keep the {thing}.",
                "{a} put the {thing} under {a:his} bed.",
            ]),
            Beat::Say(&[
                "The next day {b} was sad. \"I lost my {thing},\" {b} said.",
                "Then {b} came and asked, \"Did you see my {thing}?\"",
                "But {b} looked for a {thing} everywhere.",
            ]),
            Beat::AboutSecond,
            Beat::Say(&[
                "{a} felt bad. \"Here is the {thing},\" {a} said.",
                "{a} ran home and came back with the {thing}.",
                "{a} told {b:him} the truth.",
            ]),
            Beat::Say(&[
                "\"You are honest, {a:call},\" said {b:name}.",
                "{b} was so happy that {b} danced.",
                "\"Now we can play with the {thing} together,\" said {b:name}.",
            ]),
            HAPPY_END,
        ],
    },
    Plot {
        title: "How to Build a {Thing}",
        beats: &[
            Beat::Say(&[
                "{a} wanted to build a {thing}.",
                "{a} had no {thing}, and so {a} wanted to make one.",
                "\"I will make a {thing},\" said {a:name} one {weather} morning.",
            ]),
            Beat::AboutFirst,
            Beat::Say(&[
                "First {a} took some wood, but the wood broke.",
                "{a} tried all morning, but the {thing} fell apart.",
                "The work was hard and {a} was tired.",
            ]),
            Beat::Say(&[
                "{b} looked over the fence.",
                "{b} heard the noise and came to see.",
                "\"Let me help you, {a:call},\" said {b:name}.",
            ]),
            Beat::AboutSecond,
            Beat::Say(&[
                "{b} knew how to do the work.",
                "{b} brought a long rope and a box of nails.",
                "\"Slow and steady,\" said {b:name}.",
            ]),
            Beat::Say(&[
                "In the evening the {thing} was ready.",
                "Soon they had the best {thing} of all.",
                "When the sun went down, they were done.",
            ]),
            THANKS,
            HAPPY_END,
        ],
    },
    Plot {
        title: "A Party at the {Place}",
        beats: &[
            Beat::Say(&[
                "Today was a big day for {a:him}.",
                "{a} had a birthday.",
                "{a} wanted to have a party at the {place}.",
            ]),
            Beat::AboutFirst,
            Beat::Say(&[
                "{a} put a table and a lamp near the {place}.",
                "{a} asked all {a:his} friends to come.",
                "{a} waited and waited, but nobody came.",
            ]),
            Beat::Say(&[
                "At last {b} came with a {thing}.",
                "The first guest was {b}.",
                "Then {b} knocked at the door.",
            ]),
            Beat::AboutSecond,
            Beat::Say(&[
                "\"Happy birthday, {a:call}!\" said {b:name}.",
                "{b} had a {thing} for {a:him}.",
                "\"The {thing} is for you,\" said {b:name}.",
            ]),
            Beat::Say(&[
                "They sang and danced until the stars came out.",
                "There was a cake, and {a} ate the biggest piece.",
                "Everybody laughed and sang.",
            ]),
            HAPPY_END,
        ],
    },
    Plot {
        title: "The Wise Word",
        beats: &[
            OPENING,
            Beat::AboutFirst,
            Beat::Say(&[
                "{a} was angry. A boy had broken the {thing}.",
                "{a} was angry and did not want to talk.",
                "{a} could not sleep at night.",
            ]),
            MEETING,
            Beat::AboutSecond,
            Beat::Say(&[
                "\"What is the matter, {a:call}?\" asked {b:name}.",
                "{b} sat down and waited.",
                "{b} looked at {a:him} for a long time.",
            ]),
            Beat::Say(&[
                "\"Count to ten and breathe,\" said {b:name}.",
                "\"Tomorrow is a new day,\" said {b:name}.",
                "\"A kind word opens every door,\" said {b:name}.",
            ]),
            Beat::Say(&[
                "{a} thought about that all day.",
                "{a} counted to ten and felt better.",
                "{a} smiled. \"You are right,\" {a} said.",
            ]),
            HAPPY_END,
        ],
    },
];
