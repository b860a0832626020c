package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"hushgate/tcpstate"
)

// A FlowState is transferred as a record: one octet that says which parts it has beside the flow's, and the fields in the
// order of a schema, each of 1, 2, 4 or 8 octets, big-endian. The schema is sent before the records. So a reader of another
// release can check, before it reads a record, whether it knows all fields and finds those that it needs.

// RecordField is a field of a schema.
type RecordField struct {
	Name  string   `json:"name"`
	Size  int      `json:"size"`            // octets
	Part  string   `json:"part"`            // "flow"; "server": only for flows that look for, or have, a server; or "talk"
	Names []string `json:"names,omitempty"` // names of the values 0, 1, ...
}

// field is a RecordField with its access to a FlowState.
type field struct {
	RecordField
	get func(*FlowState) uint64
	put func(*FlowState, uint64) bool // false: invalid value

	added bool // older releases do not write it; then it is 0
}

// added marks a field that is not in the first release.
func added(f field) field {
	f.added = true
	return f
}

type whole interface {
	~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// number is a field with an integer.
func number[T whole](name string, at func(*FlowState) *T) field {
	size := binary.Size(*at(new(FlowState)))
	return field{
		RecordField: RecordField{Name: name, Size: size},
		get: func(v *FlowState) uint64 {
			return uint64(*at(v)) & (1<<(8*size) - 1)
		},
		put: func(v *FlowState, n uint64) bool {
			*at(v) = T(n)
			return size == 8 || bits.Len64(n) <= 8*size
		},
	}
}

// mark is a boolean field.
func mark(name string, at func(*FlowState) *bool) field {
	return field{
		RecordField: RecordField{Name: name, Size: 1},
		get: func(v *FlowState) uint64 {
			if *at(v) {
				return 1
			}
			return 0
		},
		put: func(v *FlowState, n uint64) bool {
			*at(v) = n == 1
			return n <= 1
		},
	}
}

// array is one of several fields of eight octets.
func array(name string, n int, at func(v *FlowState, i int) []byte) (list []field) {
	for i := range n {
		list = append(list, field{
			RecordField: RecordField{Name: fmt.Sprintf("%s.%d", name, i), Size: 8},
			get:         func(v *FlowState) uint64 { return binary.BigEndian.Uint64(at(v, i)) },
			put: func(v *FlowState, n uint64) bool {
				binary.BigEndian.PutUint64(at(v, i), n)
				return true
			},
		})
	}
	return list
}

func named[T ~uint8](f field, n T, name func(T) string) field {
	for v := range n {
		f.Names = append(f.Names, name(v))
	}
	return f
}

// The parts of a record.
const (
	flowPart   = "flow"
	serverPart = "server"
	talkPart   = "talk"
)

// fields are what this release writes and reads, the flow's first. All must be present except those marked as added.
var fields = slices.Concat(
	in(flowPart, slices.Concat(
		array("client", 2, func(v *FlowState, i int) []byte { return v.Client[8*i:] }),
		[]field{
			number("client_port", func(v *FlowState) *uint16 { return &v.ClientPort }),
			number("service", func(v *FlowState) *ServiceID { return &v.Service }),
			named(number("phase", func(v *FlowState) *Phase { return &v.Phase }), phases, Phase.String),
			number("tries", func(v *FlowState) *uint8 { return &v.Tries }),
			mark("settled", func(v *FlowState) *bool { return &v.Settled }),
			number("words", func(v *FlowState) *uint8 { return &v.Words }),
			number("generation", func(v *FlowState) *uint8 { return &v.Generation }),
			mark("told", func(v *FlowState) *bool { return &v.Told }),
			mark("observed", func(v *FlowState) *bool { return &v.Observed }),
			number("syn_at", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.SYN) }),
			number("established_at", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.Established) }),
			number("due_at", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.Due) }),
			number("wait_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.Wait) }),
			number("iss", func(v *FlowState) *seq { return (*seq)(&v.Conn.ISS) }),
			number("irs", func(v *FlowState) *seq { return (*seq)(&v.Conn.IRS) }),
			number("snd_una", func(v *FlowState) *seq { return (*seq)(&v.Conn.SndUna) }),
			number("snd_nxt", func(v *FlowState) *seq { return (*seq)(&v.Conn.SndNxt) }),
			number("rcv_nxt", func(v *FlowState) *seq { return (*seq)(&v.Conn.RcvNxt) }),
			number("ts_recent", func(v *FlowState) *uint32 { return &v.Conn.TSRecent }),
			number("ts_offset", func(v *FlowState) *uint32 { return &v.Conn.TSOffset }),
			number("snd_wnd", func(v *FlowState) *uint16 { return &v.Conn.SndWnd }),
			number("mss", func(v *FlowState) *uint16 { return &v.Conn.MSS }),
			named(number("state", func(v *FlowState) *tcpstate.State { return &v.Conn.State }), tcpstate.States, tcpstate.State.String),
			number("client_scale", func(v *FlowState) *uint8 { return &v.Conn.ClientScale }),
			number("own_scale", func(v *FlowState) *uint8 { return &v.Conn.OwnScale }),
			mark("timestamps", func(v *FlowState) *bool { return &v.Conn.Timestamps }),
			mark("sack", func(v *FlowState) *bool { return &v.Conn.SACK }),
			mark("scaled", func(v *FlowState) *bool { return &v.Conn.Scaled }),
			mark("closing", func(v *FlowState) *bool { return &v.Conn.Closing }),
			mark("peer_fin", func(v *FlowState) *bool { return &v.Conn.PeerFIN }),
			mark("repeated", func(v *FlowState) *bool { return &v.Conn.Repeated }),
		})),
	in(serverPart, slices.Concat(
		[]field{
			number("splice.shift", func(v *FlowState) *seq { return (*seq)(&v.Splice.Shift) }),
			number("splice.ts_shift", func(v *FlowState) *uint32 { return &v.Splice.TSShift }),
			mark("splice.timestamps", func(v *FlowState) *bool { return &v.Splice.Timestamps }),
			mark("splice.strip_sack", func(v *FlowState) *bool { return &v.Splice.StripSACK }),
			number("splice.client_scale", func(v *FlowState) *uint8 { return &v.Splice.ClientScale }),
			number("splice.server_scale", func(v *FlowState) *uint8 { return &v.Splice.ServerScale }),
			number("splice.server_reads", func(v *FlowState) *uint8 { return &v.Splice.ServerReads }),
			number("splice.client_reads", func(v *FlowState) *uint8 { return &v.Splice.ClientReads }),
		},
		half("from_client.", func(v *FlowState) *tcpstate.Half { return &v.FromClient }),
		half("from_server.", func(v *FlowState) *tcpstate.Half { return &v.FromServer }),
		[]field{
			number("delay_over_at", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.DelayOver) }),
			number("connect_at", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.Connect) }),
			number("connected_at", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.Connected) }),
			number("banner_at", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.Banner) }),
			number("first_byte_at", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.FirstByte) }),
			number("last_seen_at", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&v.LastSeen) }),
			number("tried.0", func(v *FlowState) *uint64 { return &v.Tried[0] }),
			number("tried.1", func(v *FlowState) *uint64 { return &v.Tried[1] }),
			number("tried.2", func(v *FlowState) *uint64 { return &v.Tried[2] }),
			number("tried.3", func(v *FlowState) *uint64 { return &v.Tried[3] }),
			number("syn_iss", func(v *FlowState) *seq { return (*seq)(&v.SynISS) }),
			number("server_iss", func(v *FlowState) *seq { return (*seq)(&v.ServerISS) }),
			number("server_ts", func(v *FlowState) *uint32 { return &v.ServerTS }),
			number("client_ts", func(v *FlowState) *uint32 { return &v.ClientTS }),
			number("server", func(v *FlowState) *ServerID { return &v.Server }),
			number("slot", func(v *FlowState) *uint16 { return &v.Slot }),
			number("port", func(v *FlowState) *uint16 { return &v.Port }),
			added(number("server_mss", func(v *FlowState) *uint16 { return &v.ServerMSS })),
			number("retries", func(v *FlowState) *uint8 { return &v.Retries }),
			added(number("told_too_big", func(v *FlowState) *uint8 { return &v.Tellings })),
			mark("indexed", func(v *FlowState) *bool { return &v.Indexed }),
			mark("stale", func(v *FlowState) *bool { return &v.Stale }),
			mark("counted", func(v *FlowState) *bool { return &v.Counted }),
		})),
	in(talkPart, slices.Concat(
		[]field{added(number("talk_octets", func(v *FlowState) *uint32 { return &v.TalkOctets }))},
		eachAdded(array("talk", len(FlowState{}.TalkHead)/8, func(v *FlowState, i int) []byte { return v.TalkHead[8*i:] })),
	)),
)

func eachAdded(list []field) []field {
	for i := range list {
		list[i] = added(list[i])
	}
	return list
}

// nanoseconds and seq are the types of times and sequence numbers in a record.
type (
	nanoseconds int64
	seq         uint32
)

func half(name string, at func(*FlowState) *tcpstate.Half) []field {
	return []field{
		number(name+"next", func(v *FlowState) *seq { return (*seq)(&at(v).Next) }),
		number(name+"acked", func(v *FlowState) *seq { return (*seq)(&at(v).Acked) }),
		number(name+"edge", func(v *FlowState) *seq { return (*seq)(&at(v).Edge) }),
		number(name+"octets", func(v *FlowState) *uint64 { return &at(v).Octets }),
		mark(name+"fin", func(v *FlowState) *bool { return &at(v).FIN }),
		mark(name+"rst", func(v *FlowState) *bool { return &at(v).RST }),
		added(mark(name+"gone", func(v *FlowState) *bool { return &at(v).Gone })),
	}
}

func in(part string, list []field) []field {
	for i := range list {
		list[i].Part = part
	}
	return list
}

// RecordSchema returns the schema of what AppendRecord writes.
func RecordSchema() (schema []RecordField) {
	for _, f := range fields {
		f.Names = slices.Clone(f.Names)
		schema = append(schema, f.RecordField)
	}
	return schema
}

// The first octet of a record says which parts it has beside the flow's. An older release knows only the server's part.
const (
	hasServer byte = 1 << iota
	hasTalk
	allParts = hasServer | hasTalk
)

// partBit returns the bit of a part; 0 for the flow's, which is always present.
func partBit(part string) byte {
	switch part {
	case serverPart:
		return hasServer
	case talkPart:
		return hasTalk
	}
	return 0
}

// partsOf returns the first octet of a connection's record.
func partsOf(v *FlowState) (parts byte) {
	if v.Sought {
		parts |= hasServer
	}
	if v.Quoted {
		parts |= hasTalk
	}
	return parts
}

// AppendRecord appends a connection's record to b.
func AppendRecord(b []byte, v *FlowState) []byte {
	parts := partsOf(v)
	b = append(b, parts)
	for i := range fields {
		f := &fields[i]
		if bit := partBit(f.Part); bit&^parts != 0 {
			continue
		}
		switch n := f.get(v); f.Size {
		case 1:
			b = append(b, byte(n))
		case 2:
			b = binary.BigEndian.AppendUint16(b, uint16(n))
		case 4:
			b = binary.BigEndian.AppendUint32(b, uint32(n))
		default:
			b = binary.BigEndian.AppendUint64(b, n)
		}
	}
	return b
}

// RecordReader reads records by the schema of their writer.
type RecordReader struct {
	plan  []planned
	parts byte              // those that the writer can write
	size  [allParts + 1]int // by the parts of a record, including the first octet
}

// planned is a field of the writer's schema.
type planned struct {
	*field
	size  int
	part  byte     // the bit of its part
	value []uint64 // by the writer's value, for fields with names
}

// unknownValue in planned.value marks a name that this release does not know.
const unknownValue = ^uint64(0)

// NewRecordReader returns a reader; the error says what this release does not know or misses in the schema.
func NewRecordReader(schema []RecordField) (*RecordReader, error) {
	r := &RecordReader{}
	seen := map[string]bool{}
	for _, w := range schema {
		i := slices.IndexFunc(fields, func(f field) bool { return f.Name == w.Name })
		if i < 0 {
			return nil, fmt.Errorf("the field %q of a connection is unknown", w.Name)
		}
		f := &fields[i]
		if seen[w.Name] || w.Part != f.Part || !slices.Contains([]int{1, 2, 4, 8}, w.Size) || (w.Names == nil) != (f.Names == nil) ||
			len(w.Names) > 256 {
			return nil, fmt.Errorf("the field %q of a connection is not what it should be", w.Name)
		}
		seen[w.Name] = true
		p := planned{field: f, size: w.Size, part: partBit(w.Part)}
		for _, name := range w.Names {
			value := unknownValue
			if own := slices.Index(f.Names, name); own >= 0 {
				value = uint64(own)
			}
			p.value = append(p.value, value)
		}
		r.plan = append(r.plan, p)
		r.parts |= p.part
	}
	for parts := range r.size {
		r.size[parts] = 1
		for _, p := range r.plan {
			if p.part&^byte(parts) == 0 {
				r.size[parts] += p.size
			}
		}
	}
	for _, f := range fields {
		if !seen[f.Name] && !f.added {
			return nil, fmt.Errorf("the field %q of a connection is missing", f.Name)
		}
	}
	return r, nil
}

// errCut reports a truncated record.
var errCut = errors.New("a connection's record is cut off")

// Read reads the first record of b into v and returns what follows it.
func (r *RecordReader) Read(b []byte, v *FlowState) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, errCut
	}
	parts := b[0]
	if parts&^r.parts != 0 {
		return nil, fmt.Errorf("a connection's record begins with %d", parts)
	}
	if len(b) < r.size[parts] {
		return nil, errCut
	}
	*v = FlowState{Sought: parts&hasServer != 0, Quoted: parts&hasTalk != 0, Server: NoServer, Slot: noSlot}
	b = b[1:]
	for i := range r.plan {
		p := &r.plan[i]
		if p.part&^parts != 0 {
			continue
		}
		var n uint64
		switch p.size {
		case 1:
			n = uint64(b[0])
		case 2:
			n = uint64(binary.BigEndian.Uint16(b))
		case 4:
			n = uint64(binary.BigEndian.Uint32(b))
		default:
			n = binary.BigEndian.Uint64(b)
		}
		b = b[p.size:]
		if p.value != nil {
			if n >= uint64(len(p.value)) || p.value[n] == unknownValue {
				return nil, fmt.Errorf("the %s %d of a connection is unknown", p.Name, n)
			}
			n = p.value[n]
		}
		if !p.put(v, n) {
			return nil, fmt.Errorf("the %s of a connection is %d", p.Name, n)
		}
	}
	return b, nil
}
