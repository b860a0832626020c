package handover

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"hushgate/dataplane"
)

// batch is about how many octets of records go into one message.
const batch = 256 << 10

// Writer sends connections as records.
type Writer struct {
	conn  *Conn
	buf   []byte
	sum   hash.Hash
	count int
}

// sum is the body of the message that ends the records.
type sum struct {
	Connections int    `json:"connections"`
	SHA256      string `json:"sha256"`
}

// NewWriter returns a Writer.
func (c *Conn) NewWriter() *Writer { return &Writer{conn: c, sum: sha256.New()} }

// Write sends a connection, together with others.
func (w *Writer) Write(f *dataplane.FlowState) error {
	w.count++
	w.buf = dataplane.AppendRecord(w.buf, f)
	if len(w.buf) < batch {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	_, _ = w.sum.Write(w.buf) // never fails
	err := w.conn.Send(Records, w.buf, nil)
	w.buf = w.buf[:0]
	return err
}

// Close sends the remaining records, and End.
func (w *Writer) Close() error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.conn.SendJSON(End, sum{w.count, hex.EncodeToString(w.sum.Sum(nil))}, nil)
}

// ReadFlows receives connections up to End, and calls take for each. The argument of take is valid until it returns. An
// error in the hash at the end is found only after take was called for all connections.
func (c *Conn) ReadFlows(schema []dataplane.RecordField, take func(*dataplane.FlowState) error) (n int, err error) {
	reader, err := dataplane.NewRecordReader(schema)
	if err != nil {
		return 0, fmt.Errorf("understand the other hushgate: %w", err)
	}
	h := sha256.New()
	var f dataplane.FlowState
	for {
		kind, body, file, err := c.Receive(Records, End)
		if err != nil {
			return n, err
		}
		if err := closeFile(file); err != nil {
			return n, err
		}
		if kind == End {
			return n, check(body, n, h)
		}
		_, _ = h.Write(body)
		for len(body) > 0 {
			if body, err = reader.Read(body, &f); err != nil {
				return n, fmt.Errorf("understand the other hushgate: %w", err)
			}
			n++
			if err := take(&f); err != nil {
				return n, err
			}
		}
	}
}

func check(body []byte, n int, h hash.Hash) error {
	var want sum
	if err := Decode(body, &want); err != nil {
		return err
	}
	if got := (sum{n, hex.EncodeToString(h.Sum(nil))}); got != want {
		return fmt.Errorf("%d connections came from the other hushgate, with another sum than the %d that it sent", n, want.Connections)
	}
	return nil
}
