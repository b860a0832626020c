package dataplane

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"hushgate/internal/ehlo"
	"hushgate/internal/policy"
	"hushgate/internal/proxyproto"
	"hushgate/tcpstate"
)

// field is a RecordField with its access to a FlowState.
type field struct {
	RecordField
	get func(*FlowState) uint64
	put func(*FlowState, uint64) bool // false: invalid value

	text func(*FlowState) *string // in the place of both, where it is no number

	added bool // older releases do not write it; then it is 0
	older bool // this release does not write it
}

// added marks a field that is not in the first release.
func added(f field) field {
	f.added = true
	return f
}

// older marks a field that only older releases write.
func older(f field) field {
	f.older, f.added = true, true
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

// text is a field that is no number.
func text(name string, at func(*FlowState) *string) field {
	return field{RecordField: RecordField{Name: name}, text: at}
}

func named[T ~uint8](f field, n T, name func(T) string) field {
	for v := range n {
		f.Names = append(f.Names, name(v))
	}
	return f
}

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
			older(number("generation", func(v *FlowState) *uint8 { return &v.Generation })),
			added(number("treated", func(v *FlowState) *uint16 { return &v.Treated })),
			added(text("signature", func(v *FlowState) *string { return &v.Signature })),
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
	in(maskPart, maskFields()),
	in(portable, portableFields()),
)

// maskFields are the fields of an ehlo.Saved.
func maskFields() (list []field) {
	m := func(v *FlowState) *ehlo.Saved { return &v.Mask }
	list = append(list, number("mask.next", func(v *FlowState) *uint32 { return &m(v).Next }))
	for i := range m(new(FlowState)).Spans {
		list = append(list,
			number(fmt.Sprintf("mask.from.%d", i), func(v *FlowState) *uint32 { return &m(v).Spans[i][0] }),
			number(fmt.Sprintf("mask.to.%d", i), func(v *FlowState) *uint32 { return &m(v).Spans[i][1] }))
	}
	for i := range m(new(FlowState)).Code {
		list = append(list, number(fmt.Sprintf("mask.code.%d", i), func(v *FlowState) *uint8 { return &m(v).Code[i] }))
	}
	return eachAdded(append(list,
		number("mask.spans", func(v *FlowState) *uint8 { return &m(v).NSpans }),
		number("mask.replies", func(v *FlowState) *uint8 { return &m(v).Replies }),
		number("mask.column", func(v *FlowState) *uint8 { return &m(v).Column }),
		number("mask.alive", func(v *FlowState) *uint8 { return &m(v).Alive }),
		mark("mask.ended", func(v *FlowState) *bool { return &m(v).Ended }),
		mark("mask.more", func(v *FlowState) *bool { return &m(v).More }),
	))
}

// portableFields are the fields of a PortableState.
func portableFields() []field {
	p := func(v *FlowState) *PortableState { return &v.Elsewhere }
	return slices.Concat(
		[]field{text("frontend", func(v *FlowState) *string { return &p(v).Frontend })},
		array("service_addr", 2, func(v *FlowState, i int) []byte { return p(v).ServiceAddr[8*i:] }),
		[]field{
			number("service_port", func(v *FlowState) *uint16 { return &p(v).ServicePort }),
			text("backend", func(v *FlowState) *string { return &p(v).Backend }),
			text("server_name", func(v *FlowState) *string { return &p(v).ServerName }),
		},
		array("server_addr", 2, func(v *FlowState, i int) []byte { return p(v).ServerAddr[8*i:] }),
		array("source_addr", 2, func(v *FlowState, i int) []byte { return p(v).SourceAddr[8*i:] }),
		[]field{
			number("server_port", func(v *FlowState) *uint16 { return &p(v).ServerPort }),
			number("proxy", func(v *FlowState) *proxyproto.Version { return &p(v).Proxy }),
			number("members", func(v *FlowState) *uint64 { return &p(v).Members }),
			number("due_in_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&p(v).DueIn) }),
			number("syn_ago_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&p(v).SYN) }),
			number("established_ago_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&p(v).Established) }),
			number("delay_over_ago_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&p(v).DelayOver) }),
			number("connect_ago_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&p(v).Connect) }),
			number("connected_ago_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&p(v).Connected) }),
			number("banner_ago_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&p(v).Banner) }),
			number("first_byte_ago_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&p(v).FirstByte) }),
			number("last_seen_ago_ns", func(v *FlowState) *nanoseconds { return (*nanoseconds)(&p(v).LastSeen) }),
			number("tsval", func(v *FlowState) *uint32 { return &p(v).TSval }),
			number("tsval_ns", func(v *FlowState) *uint32 { return &p(v).TSns }),
			named(number("early_talk", func(v *FlowState) *policy.Talk { return &p(v).Talk }), policy.TalkSilentDrop+1, policy.Talk.String),
			text("text", func(v *FlowState) *string { return &p(v).Text }),
			added(mark("accepted", func(v *FlowState) *bool { return &p(v).Accepted })),
			added(text("teaser", func(v *FlowState) *string { return &p(v).Teaser })),
		})
}

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
