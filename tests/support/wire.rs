//! Kafka's Produce request written by hand, byte for byte: a record may be what no client library sends, such as a header whose
//! name is not UTF-8. Used by the poison corpus.
//!
//! What must stay true: what is given is what goes out; a batch that the broker refuses fails the test.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// A header's name and value.
pub type WireHeader = (Vec<u8>, Option<Vec<u8>>);

/// A record with nothing added or checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WireRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<WireHeader>,
    /// Milliseconds since 1970; -1 is none.
    pub timestamp: i64,
}

impl WireRecord {
    fn size(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + length(value) + 10).sum();
        length(&self.key) + length(&self.value) + headers + 30
    }
}

/// Largest batch; the topic has to allow it.
const BATCH_BYTES: usize = 4 << 20;
/// Acknowledged by every replica.
const ALL: i16 = -1;

/// Sends the records in order and waits for each batch. Answers the offset of each record. Blocks.
pub fn produce(broker: &str, topic: &str, partition: i32, records: &[WireRecord]) -> Vec<i64> {
    let mut stream = TcpStream::connect(broker).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut offsets = Vec::with_capacity(records.len());
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |record: &&WireRecord| {
            bytes += record.size();
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (batch, tail) = rest.split_at(count);
        let base = send(&mut stream, topic, partition, batch);
        offsets.extend((0..).map(|delta| base + delta).take(count));
        rest = tail;
    }
    offsets
}

/// One Produce request, version 3. Answers the offset of the first record.
fn send(stream: &mut TcpStream, topic: &str, partition: i32, records: &[WireRecord]) -> i64 {
    let batch = record_batch(records);
    let mut request = Vec::with_capacity(batch.len() + 100);
    request.extend(0i16.to_be_bytes()); // Produce
    request.extend(3i16.to_be_bytes());
    request.extend(7i32.to_be_bytes()); // correlation
    string(&mut request, "wire");
    request.extend((-1i16).to_be_bytes()); // no transaction
    request.extend(ALL.to_be_bytes());
    request.extend(30_000i32.to_be_bytes());
    request.extend(1i32.to_be_bytes());
    string(&mut request, topic);
    request.extend(1i32.to_be_bytes());
    request.extend(partition.to_be_bytes());
    request.extend(length(batch.len()).to_be_bytes());
    request.extend(batch);
    stream.write_all(&length(request.len()).to_be_bytes()).expect("sent");
    stream.write_all(&request).expect("sent");

    let answer = answer(stream);
    // correlation, one topic, its name, one partition, its number; then the code and the offset.
    let place = 4 + 4 + 2 + topic.len() + 4 + 4;
    let code = i16::from_be_bytes(answer[place..place + 2].try_into().expect("two bytes"));
    assert_eq!(code, 0, "the broker refused a batch of {} records", records.len());
    i64::from_be_bytes(answer[place + 2..place + 10].try_into().expect("eight bytes"))
}

fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).expect("a size")];
    stream.read_exact(&mut answer).expect("the whole answer");
    answer
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("below 2 GiB")
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend(i16::try_from(text.len()).expect("short").to_be_bytes());
    to.extend(text.as_bytes());
}

/// A record batch of format 2, not compressed.
fn record_batch(records: &[WireRecord]) -> Vec<u8> {
    let base = records[0].timestamp;
    let newest = records.iter().map(|record| record.timestamp).max().expect("a record");
    let mut checked = Vec::new();
    checked.extend(0i16.to_be_bytes()); // attributes
    checked.extend((length(records.len()) - 1).to_be_bytes());
    checked.extend(base.to_be_bytes());
    checked.extend(newest.to_be_bytes());
    checked.extend((-1i64).to_be_bytes()); // no producer id
    checked.extend((-1i16).to_be_bytes());
    checked.extend((-1i32).to_be_bytes());
    checked.extend(length(records.len()).to_be_bytes());
    for (delta, record) in (0..).zip(records) {
        let record = encoded(record, record.timestamp - base, delta);
        varint(&mut checked, i64::from(length(record.len())));
        checked.extend(record);
    }
    let mut batch = Vec::with_capacity(checked.len() + 21);
    batch.extend(0i64.to_be_bytes());
    batch.extend((length(checked.len()) + 9).to_be_bytes());
    batch.extend((-1i32).to_be_bytes()); // leader epoch
    batch.push(2); // format
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fn encoded(record: &WireRecord, timestamp_delta: i64, offset_delta: i64) -> Vec<u8> {
    let mut to = vec![0]; // attributes
    varint(&mut to, timestamp_delta);
    varint(&mut to, offset_delta);
    bytes(&mut to, record.key.as_deref());
    bytes(&mut to, record.value.as_deref());
    varint(&mut to, i64::from(length(record.headers.len())));
    for (name, value) in &record.headers {
        bytes(&mut to, Some(name));
        bytes(&mut to, value.as_deref());
    }
    to
}

fn bytes(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint(to, bytes.map_or(-1, |bytes| i64::from(length(bytes.len()))));
    to.extend(bytes.unwrap_or_default());
}

/// Zigzag, then seven bits at a time.
#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "bits, not numbers")]
fn varint(to: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        to.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

/// CRC-32C (Castagnoli), what the broker checks a batch by.
fn crc32c(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8);
    !bytes.iter().fold(u32::MAX, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}
