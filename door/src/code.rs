//! The catalogue of problems: one line per code. The documents, their pages and the metric labels come from here.
//!
//! A code is a promise: clients compare it, so it keeps its meaning and its status for good.

use axum::http::StatusCode;

macro_rules! catalogue {
    ($($variant:ident $text:literal $status:ident $title:literal;)*) => {
        /// What went wrong, as clients compare it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code in kebab-case.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The status it comes with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// The same short sentence each time.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What it means and what to do, in Markdown.
            pub fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../../docs/errors/", $text, ".md")),)*
                }
            }
        }
    };
}

catalogue! {
    TokenMissing "token-missing" UNAUTHORIZED "The request carries no token";
    TokenInvalid "token-invalid" UNAUTHORIZED "The token is not accepted";
    ScopeMissing "scope-missing" FORBIDDEN "The token lacks a scope";
    NotFound "not-found" NOT_FOUND "There is nothing at this address";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The address does not take this method";
    UnknownKind "unknown-kind" NOT_FOUND "There is no such kind of job";
    JobNotFound "job-not-found" NOT_FOUND "There is no such job";
    InvalidJobId "invalid-job-id" BAD_REQUEST "The job id is not a UUID";
    Purged "purged" GONE "This is older than what is kept";
    NotSupportedYet "not-supported-yet" BAD_REQUEST "This is not supported yet";
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "The body is of a type that is not taken here";
    UnsupportedContentEncoding "unsupported-content-encoding" UNSUPPORTED_MEDIA_TYPE "The body must not be compressed";
    InvalidIdempotencyKey "invalid-idempotency-key" BAD_REQUEST "The Idempotency-Key is malformed";
    IdempotencyKeyRequired "idempotency-key-required" BAD_REQUEST "This kind of job needs an Idempotency-Key";
    BodyTooLarge "body-too-large" PAYLOAD_TOO_LARGE "The body is too large";
    BodyTooSlow "body-too-slow" REQUEST_TIMEOUT "The body did not arrive in time";
    BodyIncomplete "body-incomplete" BAD_REQUEST "The body broke off";
    EmptyBody "empty-body" BAD_REQUEST "The body is empty";
    MalformedJson "malformed-json" BAD_REQUEST "The body is not well-formed JSON";
    TooDeep "too-deep" BAD_REQUEST "The JSON is nested too deeply";
    InvalidTiming "invalid-timing" BAD_REQUEST "The time asked for cannot be had";
    InvalidPriority "invalid-priority" BAD_REQUEST "The priority asked for cannot be had";
    InvalidTags "invalid-tags" BAD_REQUEST "The tags cannot be had";
    InvalidCallback "invalid-callback" UNPROCESSABLE_ENTITY "The callback cannot be had";
    CallbackSecretMissing "callback-secret-missing" UNPROCESSABLE_ENTITY "The tenant has no secret to sign callbacks with";
    SchemaViolation "schema-violation" UNPROCESSABLE_ENTITY "The body does not fit the schema of its kind";
    MalformedBatch "malformed-batch" BAD_REQUEST "The body is not a batch";
    BatchTooLarge "batch-too-large" PAYLOAD_TOO_LARGE "The batch has too many items";
    InvalidItem "invalid-item" UNPROCESSABLE_ENTITY "An item of the batch is not as it should be";
    IdempotencyKeyReused "idempotency-key-reused" UNPROCESSABLE_ENTITY "The Idempotency-Key was used for another request";
    IdempotencyKeyUndecided "idempotency-key-undecided" CONFLICT "The first request with this Idempotency-Key is undecided";
    BacklogFull "backlog-full" SERVICE_UNAVAILABLE "Too much waits already";
    Overloaded "overloaded" SERVICE_UNAVAILABLE "The job would wait too long";
    StoreUnavailable "store-unavailable" SERVICE_UNAVAILABLE "The store does not answer";
    Refused "refused" BAD_REQUEST "The store refuses this";
    RateLimited "rate-limited" TOO_MANY_REQUESTS "Too much is asked for too fast";
    TooManyBadTokens "too-many-bad-tokens" TOO_MANY_REQUESTS "Too many tokens from this address were not accepted";
    InvalidDevice "invalid-device" BAD_REQUEST "What is said about the device is wrong";
    DeviceNotFound "device-not-found" NOT_FOUND "There is no such device";
    DeviceRevoked "device-revoked" GONE "The device is not let in any more";
    TooManyDevices "too-many-devices" CONFLICT "The user has too many devices";
    InvalidGroup "invalid-group" BAD_REQUEST "What is said about the group is wrong";
    TooManyGroups "too-many-groups" CONFLICT "The device is in too many groups";
    GroupTooLarge "group-too-large" CONFLICT "The group has too many members for that";
    NotAMember "not-a-member" FORBIDDEN "The device is not in the group";
    PublishNotAllowed "publish-not-allowed" FORBIDDEN "Devices may not publish to the group";
    ViaDiffers "via-differs" CONFLICT "The device gets its messages another way";
    NoDevices "no-devices" NOT_FOUND "There is no device that this would go to";
    NoTokens "no-tokens" NOT_IMPLEMENTED "This hub makes no tokens for devices";
    InvalidMessage "invalid-message" BAD_REQUEST "What is said about the message is wrong";
    InvalidMessageId "invalid-message-id" BAD_REQUEST "The message id is not a UUID";
    MessageNotFound "message-not-found" NOT_FOUND "There is no such message";
    MessageDirect "message-direct" CONFLICT "The message goes to devices by their names";
    MessageOver "message-over" CONFLICT "Nobody gets the message any more";
    SubprotocolMissing "subprotocol-missing" BAD_REQUEST "The WebSocket asks for no subprotocol that is spoken here";
    SessionReplaced "session-replaced" CONFLICT "A newer session of the device took the place of this one";
    DevicesNotServed "devices-not-served" NOT_IMPLEMENTED "This hub process serves no devices";
    DevicesNotReady "devices-not-ready" SERVICE_UNAVAILABLE "Devices cannot connect yet";
    TooManySessions "too-many-sessions" SERVICE_UNAVAILABLE "This process takes no more devices";
    DeviceBacklogFull "device-backlog-full" INSUFFICIENT_STORAGE "Too many messages wait for devices already";
    MalformedRequest "malformed-request" BAD_REQUEST "The request is not well-formed HTTP";
    HeadTooLarge "head-too-large" REQUEST_HEADER_FIELDS_TOO_LARGE "The head of the request is too large";
    HeadTooSlow "head-too-slow" REQUEST_TIMEOUT "The head of the request did not arrive in time";
    TooManyConnections "too-many-connections" SERVICE_UNAVAILABLE "Too many connections are open";
    InvalidParameter "invalid-parameter" BAD_REQUEST "A parameter is wrong";
    JobEnded "job-ended" CONFLICT "The job has ended";
    JobUnderWay "job-under-way" CONFLICT "The job is under way";
    RunOver "run-over" CONFLICT "The run is over";
    TooManyWatchers "too-many-watchers" SERVICE_UNAVAILABLE "Too many wait for jobs already";
    DeadLetterNotFound "dead-letter-not-found" NOT_FOUND "There is no such dead letter";
    DeadLetterNotOpen "dead-letter-not-open" CONFLICT "The dead letter was dealt with before";
    JobMovedOn "job-moved-on" CONFLICT "The job has moved on since it died";
    TooOldToRedrive "too-old-to-redrive" CONFLICT "The dead letter is older than what consumers remember";
    SelectionNotFound "selection-not-found" NOT_FOUND "There is no such selection of dead letters";
    SelectionActed "selection-acted" CONFLICT "Something else was asked of this selection before";
    CallbackNotFound "callback-not-found" NOT_FOUND "There is no such callback";
    CallbackUnderWay "callback-under-way" CONFLICT "The callback is under way";
    CallbackDisabled "callback-disabled" CONFLICT "The address of the callback is not called";
}

impl Code {
    /// Codes that only the operators' API answers.
    pub const OPERATORS: &[Self] = &[
        Self::DeadLetterNotFound,
        Self::DeadLetterNotOpen,
        Self::JobMovedOn,
        Self::TooOldToRedrive,
        Self::SelectionNotFound,
        Self::SelectionActed,
        Self::CallbackNotFound,
        Self::CallbackUnderWay,
        Self::CallbackDisabled,
        Self::DevicesNotServed,
    ];

    /// Codes that only what is about devices and their messages answers.
    pub const DEVICES: &[Self] = &[
        Self::InvalidDevice,
        Self::DeviceNotFound,
        Self::DeviceRevoked,
        Self::TooManyDevices,
        Self::InvalidGroup,
        Self::TooManyGroups,
        Self::GroupTooLarge,
        Self::ViaDiffers,
        Self::NoDevices,
        Self::NoTokens,
        Self::InvalidMessage,
        Self::InvalidMessageId,
        Self::MessageNotFound,
        Self::MessageDirect,
        Self::MessageOver,
        Self::DeviceBacklogFull,
    ];

    /// Codes that only devices themselves meet, where they connect and talk.
    pub const TRANSPORTS: &[Self] = &[
        Self::SubprotocolMissing,
        Self::SessionReplaced,
        Self::DevicesNotReady,
        Self::TooManySessions,
        Self::NotAMember,
        Self::PublishNotAllowed,
    ];

    /// Codes that a listener answers, before there is a request for any route.
    pub const LISTENERS: &[Self] = &[Self::MalformedRequest, Self::HeadTooLarge, Self::HeadTooSlow, Self::TooManyConnections];

    /// The code of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_page_that_says_what_to_do() {
        for code in Code::ALL {
            let page = code.page();
            let head = format!("# {}\n\n{}. Status {}.\n", code.as_str(), code.title(), code.status().as_u16());
            assert!(page.starts_with(&head), "docs/errors/{}.md must begin with:\n{head}", code.as_str());
            assert!(page.contains("\n## What to do\n"), "docs/errors/{}.md does not say what to do", code.as_str());
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn every_page_has_a_code() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors");
        let pages: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        let codes: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{}.md", code.as_str())).collect();
        assert_eq!(pages, codes);
    }
}
