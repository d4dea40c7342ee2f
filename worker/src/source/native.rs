//! The only unsafe code: three things that librdkafka tells and its Rust wrapper does not. Each function takes a live client or
//! message and leaves nothing behind.
//!
//! - headers as bytes: the wrapper panics on a header name that is not UTF-8, and any producer can send one;
//! - the topic id, which tells a re-created topic from the old one;
//! - the mock broker's delay before a group's first rebalance, for the demo and the tests.

#![allow(unsafe_code, reason = "the one module that calls librdkafka itself")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::time::Duration;

use ledgerline_schema::events::RawHeader;
use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::message::BorrowedMessage;

/// The message's headers in order, byte for byte, borrowed from it.
pub(super) fn headers<'m>(message: &'m BorrowedMessage<'_>, headers: &mut Vec<RawHeader<'m>>) {
    headers.clear();
    let mut list = ptr::null_mut();
    // SAFETY: the message is live for 'm; the list belongs to it.
    let found = unsafe { native::rd_kafka_message_headers(message.ptr(), &mut list) };
    if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return; // the message has none
    }
    for index in 0.. {
        let (mut name, mut value, mut size) = (ptr::null::<c_char>(), ptr::null::<c_void>(), 0usize);
        // SAFETY: `list` is live; an index past the end is answered with an error.
        let answer =
            unsafe { native::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size) };
        if answer != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        // SAFETY: librdkafka ends names with a zero byte; name and value live as long as the message.
        let (name, value) = unsafe {
            let name = CStr::from_ptr(name).to_bytes();
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            (name, value)
        };
        headers.push(RawHeader { name, value });
    }
}

/// The topic's id as `broker` tells it; empty where it does not. By default the controller would be asked, which the mock has
/// none of, and which has to be reachable for nothing else that we do.
pub(super) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    broker: i32,
    timeout: Duration,
) -> Result<String, String> {
    let name = CString::new(topic).map_err(|_| "topic name holds U+0000".to_owned())?;
    let mut names = [name.as_ptr()];
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let rk = client.native_ptr();
    // SAFETY: every object made here is destroyed below, after its last use; the event owns the result.
    unsafe {
        let topics = native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let options = native::rd_kafka_AdminOptions_new(
            rk,
            native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        native::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        native::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
        let queue = native::rd_kafka_queue_new(rk);
        native::rd_kafka_DescribeTopics(rk, topics, options, queue);
        let event = native::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1_000));
        let answer = if event.is_null() { Err("no answer".to_owned()) } else { read_topic_id(event) };
        if !event.is_null() {
            native::rd_kafka_event_destroy(event);
        }
        native::rd_kafka_queue_destroy(queue);
        native::rd_kafka_AdminOptions_destroy(options);
        native::rd_kafka_TopicCollection_destroy(topics);
        answer
    }
}

/// SAFETY: `event` is the live answer of DescribeTopics for one topic.
unsafe fn read_topic_id(event: *mut native::rd_kafka_event_t) -> Result<String, String> {
    use native::rd_kafka_resp_err_t as Code;
    unsafe {
        let code = native::rd_kafka_event_error(event);
        if code == Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE {
            return Ok(String::new()); // an older broker, or the mock
        }
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(native::rd_kafka_err2str(code)));
        }
        let mut count = 0;
        let topics = native::rd_kafka_DescribeTopics_result_topics(
            native::rd_kafka_event_DescribeTopics_result(event),
            &mut count,
        );
        if count != 1 {
            return Err("the broker described no topic".to_owned());
        }
        let topic = *topics;
        let error = native::rd_kafka_TopicDescription_error(topic);
        let code = if error.is_null() {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR
        } else {
            native::rd_kafka_error_code(error)
        };
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(native::rd_kafka_err2str(code)));
        }
        let id = native::rd_kafka_TopicDescription_topic_id(topic);
        let none = native::rd_kafka_Uuid_most_significant_bits(id) == 0
            && native::rd_kafka_Uuid_least_significant_bits(id) == 0;
        Ok(if none { String::new() } else { text(native::rd_kafka_Uuid_base64str(id)) })
    }
}

/// SAFETY: `text` is null or ends with a zero byte.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Lets the first member of a group on a mock broker start at once instead of after three seconds. `owner` is the client that
/// was made with `test.mock.num.brokers`.
pub(crate) fn skip_mock_rebalance_delay<C: ClientContext>(owner: &Client<C>) {
    // SAFETY: the handle belongs to the live client; null is checked.
    unsafe {
        let cluster = native::rd_kafka_handle_mock_cluster(owner.native_ptr());
        if !cluster.is_null() {
            native::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}
