package logread

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"
)

// Kind says what a Record is about.
type Kind int

// The kinds.
const (
	Connection Kind = iota // the end of a connection
	Summary                // connections that have no records of their own; Counts has their numbers by verdict
	ServerDown
	ServerUp
	LinesLost // Counts["lines"] log lines were lost
)

// The verdicts of connections, in hushgate's words. Shutdown is what the end of the gateway has decided.
const (
	Quiet       = "quiet"
	EarlyTalker = "early-talker" // in tcplog also what a rule or a limit has refused
	HangUp      = "hang-up"
	NoServer    = "no-server"
	Refused     = "refused"
	Shutdown    = "shutdown"
)

// Record is what a line, or postscreen's lines about a connection, say.
type Record struct {
	Kind    Kind
	At      time.Time // the end of the connection, or the time of the line
	Client  netip.Addr
	Port    uint16
	Verdict string

	Frontend, Backend, Server string // empty if the format does not have it
	// Held is the time until a server was chosen or the connection ended, FirstOctet the time until the client first spoke; both from
	// the handshake, and -1 if unknown.
	Held, FirstOctet time.Duration
	Signature, Rule  string
	Talk             string // what the client said first, with escapes
	TalkOctets       int    // how much it said at once
	// What follows is known of few formats: why the connection ended, where it went to, and what policy had to do with it.
	Cause, Service, Pass string
	Observed, Accepted   bool
	DNSLists             []string
	DNSRank              int
	Counts               map[string]uint64
	Line                 string
}

// Reader reads logs.
type Reader struct {
	// Now is the latest time that a line may have. Times without a year are in the year before it.
	Now time.Time
	// Zone is the zone of times without one.
	Zone *time.Location

	Lines, Unknown uint64 // lines that were read, and those that are not about connections or servers

	open pending
}

// maxLine is the length of the longest line that is read. hushgate's lines are shorter than 8 KB.
const maxLine = 64 << 10

// File reads a file, which may be gzipped. A file that ends in the middle of its gzip data is an error after all that it has.
func (r *Reader) File(name string, yield func(*Record)) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read a log: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := r.Read(f, yield); err != nil {
		return fmt.Errorf("read the log %s: %w", name, err)
	}
	return nil
}

// Read reads one log, which may be gzipped.
func (r *Reader) Read(from io.Reader, yield func(*Record)) error {
	in := bufio.NewReaderSize(from, maxLine)
	if magic, _ := in.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		in = bufio.NewReaderSize(z, maxLine)
	}
	for {
		line, err := in.ReadSlice('\n')
		whole := !errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a line that is too long
			_, err = in.ReadSlice('\n')
		}
		if len(line) > 0 {
			r.Lines++
			if !whole || !r.line(string(line), yield) {
				r.Unknown++
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// End yields what is known of connections whose end no line has told.
func (r *Reader) End(yield func(*Record)) { r.open.end(yield) }
