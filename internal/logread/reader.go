package logread

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Kind says what a Record is about.
type Kind int

// The kinds.
const (
	Connection      Kind = iota // the end of a connection
	Summary                     // connections that have no records of their own; Counts has their numbers by verdict
	ServerDown                  // a check has found that
	ServerUp                    // the same
	LinesLost                   // Counts["lines"] log lines were lost
	ServerMaint                 // somebody has taken the server out; it is not checked
	ServerDrain                 // somebody has taken the server out of new connections; it is still checked
	ServerReady                 // a server in maintenance is back, and counts as up
	ServerUndrained             // a server that was drained takes new connections, if it is up
	BackendDown                 // no server of the backend takes new connections
	Offender                    // Offender has talked early again and again, and is treated as such for the time For
	ListFailed                  // the DNS list in DNSLists was not counted Counts["times"] times, because of Cause
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
	// Held is the time until a server was chosen or the connection ended, FirstOctet the time until the client first spoke, Total the
	// time until the end; all from the handshake, and -1 if unknown.
	Held, FirstOctet, Total time.Duration
	Connected               bool // Server has accepted the connection
	Signature, Rule         string
	Talk                    string // what the client said first, with escapes
	TalkOctets              int    // how much it said at once
	// What follows is known of few formats: why the connection ended, where it went to, and what policy had to do with it.
	Cause, Service, Pass string
	Observed, Accepted   bool
	DNSLists             []string
	DNSRank              int
	// Offender became one for the time For.
	Offender netip.Prefix
	For      time.Duration
	Counts   map[string]uint64
	Line     string
}

// Reader reads logs.
type Reader struct {
	// Now is the latest time that a line may have. Times without a year are in the year before it.
	Now time.Time
	// Zone is the zone of times without one.
	Zone *time.Location
	// Only selects lines; nil: all. The others are not read.
	Only func(line []byte) bool

	Lines, Unknown uint64 // lines that were read, and those that are not about connections or servers

	open   pending
	latest time.Time // of the line before
}

// maxLine is the length of the longest line that is read. hushgate's lines are shorter than 8 KB.
const maxLine = 64 << 10

// clip returns a copy of a name that no longer keeps its line, nor more of it than any name of hushgate's has.
func clip(s string) string { return strings.Clone(s[:min(len(s), maxName)]) }

const maxName = 256

// File reads a file, which may be gzipped; "-" is standard input. A file that ends in the middle of its gzip data is an error after
// all that it has.
func (r *Reader) File(name string, yield func(*Record)) error {
	if name == "-" {
		if err := r.Read(os.Stdin, yield); err != nil {
			return fmt.Errorf("read the log on standard input: %w", err)
		}
		return nil
	}
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
		if len(line) > 0 && (r.Only == nil || r.Only(line)) {
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
