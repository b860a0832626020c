package connlog

import (
	"cmp"
	"strconv"
)

// journalSocket is where the journal takes entries in its own protocol (systemd.io, "Native Journal Protocol").
const journalSocket = "/run/systemd/journal/socket"

// Fields are the fields of a connection's line for the journal, each with a newline.
type Fields []byte

// journal writes entries for the journal: a datagram of lines `FIELD=value`. No value has a newline. The longest entry is that
// of a connection with 100 octets of early talk, below two kilobytes and the names of the configuration: far from the kernel's
// limit for datagrams, so that the protocol's way for large entries, a file handed over, is not needed.
type journal struct{ head []byte }

// Message ids by which `journalctl MESSAGE_ID=...` finds what hushgate writes.
const (
	connectionID = "e34b00dc89d14e92b99ac629c1e76d94" // the line of a connection
	noticeID     = "f8f0f2bc44ef4956baa288c439b7f492" // a server's change of state, lost lines, a summary
)

func newJournal(tag string, facility int) *journal {
	j := &journal{head: append([]byte("SYSLOG_IDENTIFIER="), cmp.Or(tag, defaultTag)...)}
	j.head = strconv.AppendInt(append(j.head, "\nSYSLOG_FACILITY="...), int64(facility), 10)
	j.head = append(j.head, "\nPRIORITY="...)
	return j
}

// append appends an entry.
func (j *journal) append(b []byte, v Severity, line []byte, fields Fields) []byte {
	id := noticeID
	if len(fields) > 0 {
		id = connectionID
	}
	b = strconv.AppendInt(append(b, j.head...), int64(v), 10)
	b = append(append(b, "\nMESSAGE_ID="...), id...)
	b = append(b, "\nMESSAGE="...)
	text := len(b)
	b = append(b, line...)
	printable(b[text:])
	return append(append(b, '\n'), fields...)
}
