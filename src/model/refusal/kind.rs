//! The kinds of refusal, and the words for each that never change.

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No such model or version.
    NotFound,
    /// There, but not serving.
    NotReady,
    /// The model cannot do it.
    Unsupported,
    /// A bad option.
    InvalidOption,
    /// A bad image.
    InvalidImage,
    /// A bad compressed image.
    InvalidStream,
    /// More work in one request than a limit allows.
    TooLarge,
    /// The queue is full, or no answer could come before the deadline.
    Overloaded,
    /// The client has had its share for now.
    QuotaExceeded,
    /// No key, or none of this server's.
    Unauthenticated,
    /// The key is not good for this.
    Forbidden,
    /// Too late.
    DeadlineExceeded,
    /// Draining.
    ShuttingDown,
    /// Our fault, or the model's.
    Internal,
    /// No such path.
    UnknownRoute,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// None of the formats that the client accepts can be given.
    NotAcceptable,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is longer than the limit.
    BodyTooLarge,
    /// More images than the limit, brought or asked for.
    TooManyImages,
    /// The body, or the request around it, is not well-formed.
    Malformed,
    /// The body is of a type that is not read here.
    UnsupportedMediaType,
    /// The state of things does not allow it.
    Conflict,
    /// The operator has not enabled it.
    Disabled,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 24] = [
        Self::NotFound,
        Self::NotReady,
        Self::Unsupported,
        Self::InvalidOption,
        Self::InvalidImage,
        Self::InvalidStream,
        Self::TooLarge,
        Self::Overloaded,
        Self::QuotaExceeded,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::DeadlineExceeded,
        Self::ShuttingDown,
        Self::Internal,
        Self::UnknownRoute,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::TooManyImages,
        Self::Malformed,
        Self::UnsupportedMediaType,
        Self::Conflict,
        Self::Disabled,
    ];

    /// A name that never changes: the last part of a problem's `type`, and the reason in metrics.
    pub fn slug(self) -> &'static str {
        self.words().0
    }

    /// What the kind means, in a few words.
    pub fn title(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NotFound => ("model_not_found", "No such model or version"),
            Self::NotReady => ("model_not_ready", "The model is not ready"),
            Self::Unsupported => ("unsupported", "The model cannot do this"),
            Self::InvalidOption => ("invalid_option", "An option is not valid"),
            Self::InvalidImage => ("invalid_image", "An image does not fit the model"),
            Self::InvalidStream => ("invalid_stream", "A compressed image cannot be decompressed here"),
            Self::TooLarge => ("too_large", "The request asks for too much at once"),
            Self::Overloaded => ("overloaded", "The server is busy"),
            Self::QuotaExceeded => ("quota_exceeded", "The client has had its share for now"),
            Self::Unauthenticated => ("unauthenticated", "A key is needed"),
            Self::Forbidden => ("forbidden", "The key is not good for this"),
            Self::DeadlineExceeded => ("deadline_exceeded", "The answer was not ready in time"),
            Self::ShuttingDown => ("shutting_down", "The server is shutting down"),
            Self::Internal => ("internal", "The server failed"),
            Self::UnknownRoute => ("unknown_route", "No such path"),
            Self::MethodNotAllowed => ("method_not_allowed", "The path does not take this method"),
            Self::NotAcceptable => ("not_acceptable", "No acceptable format"),
            Self::BodyTimeout => ("body_timeout", "The body did not arrive in time"),
            Self::BodyTooLarge => ("body_too_large", "The body is too large"),
            Self::TooManyImages => ("too_many_images", "Too many images in one request"),
            Self::Malformed => ("malformed", "The request is not well-formed"),
            Self::UnsupportedMediaType => ("unsupported_media_type", "The body is of a type that is not read here"),
            Self::Conflict => ("conflict", "The state of the models does not allow this"),
            Self::Disabled => ("disabled", "Not enabled on this server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn slugs_and_titles_tell_the_kinds_apart() {
        let slugs: HashSet<_> = Kind::ALL.map(Kind::slug).into();
        let titles: HashSet<_> = Kind::ALL.map(Kind::title).into();
        assert_eq!((slugs.len(), titles.len()), (Kind::ALL.len(), Kind::ALL.len()));
    }
}
