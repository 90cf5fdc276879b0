//! Tags of jobs: words of the caller's own, to find jobs by.
//!
//! A tag is 1 to [`LONGEST`] ASCII characters: letters, digits and `. _ - : = @ /`, a letter or digit first. `region=eu` is one
//! word to Warren, and so is `Batch-7`, which is not `batch-7`. A job has [`MOST`] at most; order and repetitions say nothing.
//! In a header they are a list with commas: `region=eu, batch-7`.

/// The header that says them, in HTTP and in AMQP.
pub const TAGS_HEADER: &str = "warren-tags";

/// Tags of one job, at most.
pub const MOST: usize = 8;

/// Characters of a tag, at most.
pub const LONGEST: usize = 64;

/// What are no tags, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TagsError(String);

/// The tags of a job, sorted, each once; none by default, which costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<String>);

impl Tags {
    /// The tags of `words`.
    ///
    /// # Errors
    /// When one is no tag, or there are more than [`MOST`].
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, TagsError> {
        let mut tags = Self::default();
        for word in words {
            check(word)?;
            let Err(place) = tags.0.binary_search_by(|tag| tag.as_str().cmp(word)) else { continue };
            if tags.0.len() == MOST {
                return Err(TagsError(format!("there are more than {MOST} tags")));
            }
            tags.0.insert(place, word.to_owned());
        }
        Ok(tags)
    }

    /// The tags of a list with commas, as a header has them. Nothing between two commas is no tag, and no mistake.
    ///
    /// # Errors
    /// As [`Tags::of`].
    pub fn listed(text: &str) -> Result<Self, TagsError> {
        Self::of(text.split(',').map(str::trim).filter(|word| !word.is_empty()))
    }

    /// What the store holds, which was checked on its way in.
    pub(crate) fn stored(mut tags: Vec<String>) -> Self {
        tags.sort_unstable();
        Self(tags)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(String::as_str)
    }

    /// As a list with commas: the same for the same tags, however they were written.
    pub fn text(&self) -> String {
        self.0.join(",")
    }

    /// The words.
    pub fn into_words(self) -> Vec<String> {
        self.0
    }
}

fn check(word: &str) -> Result<(), TagsError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:=@/".contains(&byte);
    if word.is_empty() {
        return Err(TagsError("a tag is empty".to_owned()));
    }
    if word.len() > LONGEST {
        return Err(TagsError(format!("a tag has {} characters, {LONGEST} at most", word.chars().count())));
    }
    if !word.bytes().all(known) || !word.as_bytes()[0].is_ascii_alphanumeric() {
        let shown: String = word.chars().filter(|c| !c.is_control()).collect();
        return Err(TagsError(format!(
            "`{shown}` is no tag: letters, digits and `. _ - : = @ /` make one, and it begins with a letter or a digit"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_the_same_however_it_is_written() {
        let tags = Tags::listed(" region=eu,batch-7 ,, region=eu,").unwrap();
        assert_eq!(tags.text(), "batch-7,region=eu");
        assert_eq!(tags, Tags::of(["region=eu", "batch-7"]).unwrap());
        assert_eq!(tags, Tags::stored(vec!["region=eu".into(), "batch-7".into()]));
        assert!(Tags::listed(" , ").unwrap().is_empty());
        assert_ne!(Tags::listed("a").unwrap(), Tags::listed("A").unwrap());
    }

    #[test]
    fn what_is_no_tag_is_refused_with_the_reason() {
        for (word, why) in [
            ("", "is empty"),
            ("two words", "`two words` is no tag"),
            ("-x", "begins with a letter"),
            ("a\nb", "`ab` is no tag"),
            ("größe", "is no tag"),
            ("a+b", "is no tag"),
            (&"x".repeat(65), "65 characters, 64 at most"),
        ] {
            let error = Tags::of([word]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(Tags::of([&*"x".repeat(64)]).is_ok());
        let many: Vec<String> = (0..9).map(|n| format!("t{n}")).collect();
        assert!(Tags::of(many.iter().map(String::as_str)).unwrap_err().to_string().contains("more than 8"));
        assert!(Tags::of(many[..8].iter().chain(&many[..8]).map(String::as_str)).is_ok(), "repetitions do not count");
    }
}
