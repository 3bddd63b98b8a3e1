//! From the words of a prompt to what is drawn, in which colours, with which initials.

use super::lettering::can_write;
use super::palette::{Mood, PALETTES, Palette};
use super::random::Random;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motif {
    Hills,
    Mountains,
    Sea,
    Forest,
    City,
    Arcs,
    Discs,
    Ribbons,
    Blocks,
    Tiles,
}

impl Motif {
    #[cfg(test)]
    pub(super) const ALL: [Self; 10] = [
        Self::Hills,
        Self::Mountains,
        Self::Sea,
        Self::Forest,
        Self::City,
        Self::Arcs,
        Self::Discs,
        Self::Ribbons,
        Self::Blocks,
        Self::Tiles,
    ];
}

/// Beginnings of words, English and Icelandic, in lower case; a trailing `.` stands for the end of the word.
#[rustfmt::skip]
const MOTIF_WORDS: &[(Motif, &[&str])] = &[
    (Motif::Sea, &["sea.", "seas", "ocean", "boat", "ship.", "ships", "sail", "water", "beach", "harbo", "lake", "river", "fish", "swim", "pool", "wave", "island", "coast", "whale",
        "sjó", "haf.", "hafið", "hafs", "vatn", "vötn", "bát", "skip", "höfn", "hafnar", "strönd", "strand", "fjar", "fisk", "sund", "laug", "eyja", "hval"]),
    (Motif::Forest, &["park.", "parks", "tree", "forest", "wood.", "woods", "woodland", "green", "garden", "nature", "leaf", "leaves", "plant", "flower", "grass", "playground", "ecolog", "climate", "bird",
        "garð", "görð", "tré", "trjá", "skóg", "græn", "náttúr", "lauf", "blóm", "gras", "leikvöll", "leikvell", "gróður", "loftslag", "fugl"]),
    (Motif::Mountains, &["mountain", "volcano", "glacier", "peak", "alp.", "alps", "alpine", "summit", "snow", "ski.", "skiing", "lava", "hike", "hiking",
        "fjall", "fjöll", "jökul", "jökl", "eldfj", "hraun", "tind", "snjó", "skíð", "göngu"]),
    (Motif::City, &["city", "cities", "house", "housing", "town", "street", "building", "urban", "home", "school", "bridge", "architect", "neighbo", "village", "library", "market",
        "borg", "hús", "bær", "bæj", "bæn", "miðbæ", "gata", "götu", "bygg", "heimil", "skól", "hverfi", "þorp", "bókasafn"]),
    (Motif::Hills, &["sun.", "sunny", "sunrise", "sunset", "summer", "morning", "dawn", "hill", "field", "farm", "valley", "landscape", "countryside", "meadow", "spring",
        "sól", "sumar", "sumr", "morgun", "sveit", "dal.", "dalur", "dalir", "akur", "bónd", "landslag", "vor."]),
    (Motif::Discs, &["people", "communit", "democra", "together", "idea", "vote", "voting", "citizen", "dialog", "debate", "team", "friend", "famil", "particip", "divers",
        "fólk", "samfélag", "lýðræð", "saman", "hugmynd", "kosning", "kjósa", "íbú", "samráð", "umræð", "vin.", "vinir", "fjölskyld"]),
    (Motif::Blocks, &["tech", "data", "digital", "comput", "code", "software", "build", "construct", "engineer", "game", "robot", "block", "budget", "econom", "innovat",
        "tækn", "gögn", "gagna", "stafræn", "tölv", "forrit", "leikur", "nýsköp", "fjárhag", "fjárlög"]),
    (Motif::Ribbons, &["road", "traffic", "transport", "bike", "bicycl", "cycl", "bus.", "buses", "train.", "trains", "wind.", "windy", "flow", "path", "run.", "running", "energy", "health",
        "veg.", "vegur", "vegir", "umferð", "samgöng", "hjól", "strætó", "lest.", "vind", "stíg", "hlaup", "orka", "orku", "heils"]),
    (Motif::Arcs, &["music", "sound", "radio", "rainbow", "space", "planet", "universe", "science", "time.", "future", "world", "global",
        "tónlist", "hljóð", "útvarp", "regnbog", "geim", "vísind", "tími", "framtíð", "heim.", "heimur"]),
    (Motif::Tiles, &["art.", "arts", "museum", "pattern", "design.", "culture", "cultural", "festival", "craft", "theatre", "theater",
        "list.", "listir", "lista", "safn", "mynst", "hönnun", "menning", "hátíð", "leikhús"]),
];

#[rustfmt::skip]
const MOOD_WORDS: &[(Mood, &[&str])] = &[
    (Mood::Night, &["night", "star.", "stars", "starry", "moon", "aurora", "northern", "dark", "winter", "space", "dream", "nótt", "nætur", "stjörn", "stjarn", "tungl", "norðurljós", "dimm", "vetur", "vetr", "geim", "draum"]),
    (Mood::Warm, &["sun.", "sunny", "sunrise", "sunset", "summer", "morning", "dawn", "warm", "autumn", "fire", "desert", "orange", "red.", "yellow", "gold", "sól", "sumar", "sumr", "morgun", "hlý", "haust", "eld", "rauð", "gul"]),
    (Mood::Green, &["green", "forest", "park.", "parks", "tree", "garden", "nature", "spring", "eco", "climate", "græn", "skóg", "garð", "tré", "náttúr", "vor.", "loftslag"]),
    (Mood::Water, &["sea.", "ocean", "boat", "water", "beach", "lake", "river", "harbo", "blue", "turquoise", "swim", "pool", "sjó", "haf.", "hafið", "vatn", "blá", "höfn", "strönd", "laug", "sund", "bát"]),
    (Mood::Cool, &["mountain", "snow", "ice.", "glacier", "cold", "purple", "violet", "fjall", "fjöll", "snjó", "ís.", "jökul", "jökl", "kald", "fjólublá"]),
];

/// Words that say how something is to be drawn rather than what, and words that say nothing.
#[rustfmt::skip]
const PASSED_OVER: &[&str] = &[
    "a", "an", "the", "of", "for", "with", "and", "or", "in", "on", "at", "to", "by", "from", "as", "is", "are", "it", "its", "my", "our", "this", "that", "into", "over", "under", "about", "near", "where", "who", "we", "i", "me", "us", "please", "some", "very", "no", "not", "without",
    "logo", "icon", "image", "picture", "photo", "photograph", "illustration", "drawing", "painting", "render", "badge", "emblem", "symbol", "art", "artwork", "poster", "banner", "cover", "background", "generate", "create", "make", "draw", "design", "style", "styled", "flat", "vector", "minimal", "minimalist", "minimalistic", "modern", "simple", "clean", "beautiful", "colorful", "colourful", "abstract", "cute", "nice", "high", "quality", "small", "large", "big",
    "og", "eða", "í", "á", "að", "við", "fyrir", "með", "um", "úr", "frá", "til", "af", "er", "eru", "sem", "það", "þetta", "hjá", "yfir", "undir", "mín", "mitt", "minn", "okkar", "mjög", "ekki", "ein", "einn", "eitt",
    "merki", "lógó", "tákn", "mynd", "ljósmynd", "teikning", "málverk", "gerðu", "búðu", "teiknaðu", "einfalt", "einföld", "einfaldur", "falleg", "fallegt", "fallegur", "stíl", "lítil", "lítið", "lítill", "stór", "stórt",
];

/// What a prompt turns into.
#[derive(Debug, PartialEq)]
pub(super) struct Theme {
    pub(super) motif: Motif,
    pub(super) palette: Palette,
    /// None, one or two capitals that the font has.
    pub(super) initials: String,
}

/// Reads a prompt; what its words leave open is left to `random`.
pub(super) fn read(prompt: &str, random: &mut Random) -> Theme {
    let lower = prompt.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let abstract_motifs = [
        Motif::Hills,
        Motif::Arcs,
        Motif::Discs,
        Motif::Ribbons,
        Motif::Blocks,
        Motif::Tiles,
    ];
    let chosen = *random.pick(&abstract_motifs);
    let motif = words
        .iter()
        .find_map(|word| meaning(word, MOTIF_WORDS))
        .unwrap_or(chosen);
    // The first thing named is what is drawn. Of the moods the rarest wins, which is the night: a boat at night
    // is a night picture although boats are blue.
    let mood = MOOD_WORDS
        .iter()
        .map(|(mood, _)| *mood)
        .find(|mood| words.iter().any(|word| meaning(word, MOOD_WORDS) == Some(*mood)));
    let fitting: Vec<&Palette> = PALETTES
        .iter()
        .filter(|palette| match mood {
            Some(mood) => palette.mood == mood,
            None => suits(palette.mood, motif),
        })
        .collect();
    Theme {
        motif,
        palette: **random.pick(&fitting),
        initials: initials(&words),
    }
}

fn meaning<T: Copy>(word: &str, table: &[(T, &[&str])]) -> Option<T> {
    table
        .iter()
        .find(|(_, stems)| stems.iter().any(|stem| begins(word, stem)))
        .map(|(meaning, _)| *meaning)
}

fn begins(word: &str, stem: &str) -> bool {
    match stem.strip_suffix('.') {
        Some(whole) => word == whole,
        None => word.starts_with(stem),
    }
}

/// Which moods a motif is drawn in when the prompt names none.
fn suits(mood: Mood, motif: Motif) -> bool {
    match motif {
        Motif::Sea => matches!(mood, Mood::Water),
        Motif::Forest => matches!(mood, Mood::Green),
        Motif::Mountains => matches!(mood, Mood::Cool | Mood::Warm),
        Motif::City => matches!(mood, Mood::Warm | Mood::Cool),
        _ => mood != Mood::Night,
    }
}

/// Capitals of the first two words that carry meaning; of a single word, its first letter.
fn initials(words: &[&str]) -> String {
    let capitals = |passes: &dyn Fn(&str) -> bool| -> String {
        words
            .iter()
            .filter(|word| passes(word))
            .filter_map(|word| word.chars().next()?.to_uppercase().next())
            .filter(|&capital| can_write(capital))
            .take(2)
            .collect()
    };
    let telling = capitals(&|word| !PASSED_OVER.contains(&word));
    if telling.is_empty() {
        capitals(&|_| true)
    } else {
        telling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theme(prompt: &str) -> Theme {
        read(prompt, &mut Random::from_parts(&[prompt.as_bytes()]))
    }

    #[test]
    fn words_choose_the_motif_and_its_colours() {
        for (prompt, motif, mood) in [
            ("A sailing boat at sunset", Motif::Sea, Mood::Warm),
            ("Bátur á sjó", Motif::Sea, Mood::Water),
            ("logo for a city park", Motif::City, Mood::Green),
            ("Grænn skógur", Motif::Forest, Mood::Green),
            ("House under the stars", Motif::City, Mood::Night),
            ("Fjöll og norðurljós", Motif::Mountains, Mood::Night),
            ("Ideas of the PEOPLE, by night", Motif::Discs, Mood::Night),
        ] {
            let theme = theme(prompt);
            assert_eq!((theme.motif, theme.palette.mood), (motif, mood), "{prompt}");
        }
    }

    #[test]
    fn initials_are_those_of_the_words_that_tell_something() {
        for (prompt, initials) in [
            ("A minimalist logo for Better Reykjavik", "BR"),
            ("Þjóðgarður", "Þ"),
            ("merki fyrir íbúa Akureyrar", "ÍA"),
            ("Новый парк", "НП"),
            ("Ελλάδα", "Ε"),
            ("2030 goals", "2G"),
            ("the logo", "TL"),
            ("ßtraße", "S"),
            ("未来の都市", ""),
            ("🎉 !!", ""),
            ("", ""),
        ] {
            assert_eq!(theme(prompt).initials, initials, "{prompt}");
        }
    }

    #[test]
    fn a_prompt_without_known_words_still_gets_every_abstract_motif_now_and_then() {
        let drawn: Vec<Motif> = (0..200).map(|n| theme(&format!("qqq{n}")).motif).collect();
        for motif in [
            Motif::Hills,
            Motif::Arcs,
            Motif::Discs,
            Motif::Ribbons,
            Motif::Blocks,
            Motif::Tiles,
        ] {
            assert!(drawn.contains(&motif), "{motif:?}");
        }
    }
}
