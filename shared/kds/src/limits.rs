//! What a peer may ask of this control plane, so that none can make it run out of memory, and how a message that is too
//! large is called.

use tonic::{Code, Status};

use crate::wire::{DeltaRequest, DeltaResponse};

/// Longest name of a type and longest nonce, in bytes. Both are sent back, and are short with every honest peer.
const MAX_TOKEN_BYTES: usize = 256;
/// Longest text of a peer that is kept and logged, in bytes.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Checks the parts of a request that are sent back or kept.
///
/// # Errors
/// When one is too long.
pub(crate) fn check_request(request: &DeltaRequest) -> Result<(), Status> {
    check_tokens(&request.type_url, &request.response_nonce)
}

/// Checks the parts of a response that are sent back.
///
/// # Errors
/// When one is too long.
pub(crate) fn check_response(response: &DeltaResponse) -> Result<(), Status> {
    check_tokens(&response.type_url, &response.nonce)
}

/// Checks the id of an instance, which appears in statuses and logs.
///
/// # Errors
/// When it is too long.
pub(crate) fn check_instance(instance: &str) -> Result<(), Status> {
    check_token("control-plane-id of the node", instance)
}

fn check_tokens(type_url: &str, nonce: &str) -> Result<(), Status> {
    check_token("type_url", type_url)?;
    check_token("nonce", nonce)
}

fn check_token(what: &str, text: &str) -> Result<(), Status> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(Status::invalid_argument(format!("the {what} is longer than {MAX_TOKEN_BYTES} bytes")));
    }
    Ok(())
}

/// A text of a peer as it is kept: its beginning, if it is long.
pub(crate) fn shortened(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push_str(" …");
    }
    text
}

/// What has to be said of a stream that failed: a message over the limit is called by its name, as Kuma does, and by the
/// setting that limits it.
pub(crate) fn clarified(status: Status) -> Status {
    let text = status.message();
    let too_large = match status.code() {
        Code::OutOfRange => text.contains("message length too large"),
        Code::ResourceExhausted => text.contains("size limit"),
        _ => false,
    };
    if !too_large {
        return status;
    }
    Status::resource_exhausted(format!(
        "{text}; raise maxMsgSize on both sides (multizone.global.kds.maxMsgSize, multizone.zone.kds.maxMsgSize), or let \
         there be fewer or smaller resources of one type"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_back_is_short() {
        let request = |type_url: usize, nonce: usize| DeltaRequest {
            type_url: "t".repeat(type_url),
            response_nonce: "1".repeat(nonce),
            ..DeltaRequest::default()
        };
        assert!(check_request(&request(256, 256)).is_ok());
        for (bad, what) in [(request(257, 1), "type_url"), (request(1, 257), "nonce")] {
            let status = check_request(&bad).expect_err(what);
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(what), "{status}");
        }
        let response = DeltaResponse { nonce: "1".repeat(300), ..DeltaResponse::default() };
        assert!(check_response(&response).is_err());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = shortened("ü".repeat(MAX_TEXT_BYTES));
        assert!(long.len() < MAX_TEXT_BYTES + 10 && long.ends_with("ü …"));
        assert_eq!(shortened("short".into()), "short");
    }

    #[test]
    fn only_messages_that_are_too_large_are_called_so() {
        let text = "Error, decoded message length too large: found 11 bytes, the limit is: 10 bytes";
        let status = clarified(Status::out_of_range(text));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().starts_with(text) && status.message().contains("multizone.zone.kds.maxMsgSize"));
        assert_eq!(clarified(Status::out_of_range("another range")).code(), Code::OutOfRange);
        assert_eq!(clarified(Status::resource_exhausted("no more threads")).message(), "no more threads");
    }
}
