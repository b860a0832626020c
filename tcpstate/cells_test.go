package tcpstate

import "hushgate/internal/wire"

// The table of doc.go, cell by cell: every kind of segment in every state.

// kind is a kind of arriving segment, a row of the table.
type kind int

// The kinds of segment.
const (
	synAgain kind = iota
	newSYN
	synOutside
	laterSYN
	ack
	oldACK
	ackOfUnsent
	payload
	payloadBeyondHole
	payloadBeyondWindow
	payloadWithoutACK
	keepAlive
	fin
	payloadAndFIN
	finBeyondHole
	rst
	rstElsewhere
	rstOutside
	kinds // the number of kinds
)

// arrival describes a kind of segment.
type arrival struct {
	name    string
	segment func(c *Conn) wire.Header
	text    int    // octets of payload
	source  string // sections of RFC 9293, unless another RFC is named
}

func seg(flags wire.Flags, seq, ack wire.Seq) wire.Header {
	return wire.Header{Flags: flags, Seq: seq, Ack: ack, Wnd: 65535}
}

var arrivals = [kinds]arrival{
	synAgain: {
		name:    "SYN again",
		segment: func(c *Conn) wire.Header { return seg(wire.SYN, c.IRS, 0) },
		source:  "3.10.7.4 first; Linux repeats the SYN-ACK, the RFC sends an ACK",
	},
	newSYN: {
		name:    "new SYN in the window",
		segment: func(c *Conn) wire.Header { return seg(wire.SYN, c.RcvNxt+100, 0) },
		source:  "3.10.7.4 fourth; RFC 5961 4.2; in TIME-WAIT RFC 6191",
	},
	synOutside: {
		name:    "SYN outside the window",
		segment: func(c *Conn) wire.Header { return seg(wire.SYN, c.RcvNxt-70000, 0) },
		source:  "3.10.7.4 first; RFC 5961 4.2",
	},
	laterSYN: {
		name:    "later SYN",
		segment: func(c *Conn) wire.Header { return seg(wire.SYN, c.RcvNxt+1<<20, 0) },
		source:  "3.10.7.4 first; in TIME-WAIT RFC 6191",
	},
	ack: {
		name:    "ACK",
		segment: func(c *Conn) wire.Header { return seg(wire.ACK, c.RcvNxt, c.SndNxt) },
		source:  "3.10.7.4 fifth",
	},
	oldACK: {
		name:    "ACK of nothing new",
		segment: func(c *Conn) wire.Header { return seg(wire.ACK, c.RcvNxt, c.SndUna) },
		source:  "3.10.7.4 fifth; in SYN-RECEIVED an RST with SEG.ACK",
	},
	ackOfUnsent: {
		name:    "ACK of what was never sent",
		segment: func(c *Conn) wire.Header { return seg(wire.ACK, c.RcvNxt, c.SndNxt+1) },
		source:  "RFC 5961 5.2; in SYN-RECEIVED an RST with SEG.ACK",
	},
	payload: {
		name:    "payload",
		segment: func(c *Conn) wire.Header { return seg(wire.ACK|wire.PSH, c.RcvNxt, c.SndNxt) },
		text:    5,
		source:  "3.10.7.4 seventh",
	},
	payloadBeyondHole: {
		name:    "payload beyond a hole",
		segment: func(c *Conn) wire.Header { return seg(wire.ACK|wire.PSH, c.RcvNxt+9, c.SndNxt) },
		text:    5,
		source:  "3.10.7.4 seventh; 3.4 (acceptability)",
	},
	payloadBeyondWindow: {
		name:    "payload beyond the window",
		segment: func(c *Conn) wire.Header { return seg(wire.ACK|wire.PSH, c.RcvNxt+Window, c.SndNxt) },
		text:    5,
		source:  "3.10.7.4 first",
	},
	payloadWithoutACK: {
		name:    "payload without ACK",
		segment: func(c *Conn) wire.Header { return seg(wire.PSH, c.RcvNxt, 0) },
		text:    5,
		source:  "3.10.7.4 fifth: dropped",
	},
	keepAlive: {
		name:    "keep-alive with garbage",
		segment: func(c *Conn) wire.Header { return seg(wire.ACK, c.RcvNxt-1, c.SndNxt) },
		text:    1,
		source:  "3.8.4; RFC 1122 4.2.3.6",
	},
	fin: {
		name:    "FIN",
		segment: func(c *Conn) wire.Header { return seg(wire.FIN|wire.ACK, c.RcvNxt, c.SndNxt) },
		source:  "3.10.7.4 eighth; 3.6",
	},
	payloadAndFIN: {
		name:    "payload and FIN",
		segment: func(c *Conn) wire.Header { return seg(wire.FIN|wire.ACK, c.RcvNxt, c.SndNxt) },
		text:    5,
		source:  "3.10.7.4 seventh and eighth",
	},
	finBeyondHole: {
		name:    "FIN beyond a hole",
		segment: func(c *Conn) wire.Header { return seg(wire.FIN|wire.ACK, c.RcvNxt+9, c.SndNxt) },
		source:  "3.10.7.4 eighth: not yet in order",
	},
	rst: {
		name:    "RST at RCV.NXT",
		segment: func(c *Conn) wire.Header { return seg(wire.RST, c.RcvNxt, 0) },
		source:  "RFC 5961 3.2",
	},
	rstElsewhere: {
		name:    "RST elsewhere in the window",
		segment: func(c *Conn) wire.Header { return seg(wire.RST, c.RcvNxt+1, 0) },
		source:  "RFC 5961 3.2",
	},
	rstOutside: {
		name:    "RST outside the window",
		segment: func(c *Conn) wire.Header { return seg(wire.RST, c.RcvNxt-1, 0) },
		source:  "3.10.7.4 first: dropped; Linux accepts one octet below RCV.NXT after a FIN",
	},
}

// cell is the effect of a segment. A zero field means no effect.
type cell struct {
	events Events
	reply  Reply
	next   next
}

// next is the state after a segment: 0 for the same state, or a value from becomes.
type next int

func becomes(s State) next { return 1 + next(s) }

// in returns the state that a cell in the column of s leads to.
func (n next) in(s State) State {
	if n == 0 {
		return s
	}
	return State(n - 1)
}

// table has the effect of each kind of segment in each state. TestEveryCell fails if a cell is missing.
var table = map[State]map[kind]cell{
	SynReceived: {
		synAgain:            {reply: SendSYN},
		newSYN:              {events: Restart},
		synOutside:          {reply: Challenge},
		laterSYN:            {reply: Challenge},
		ack:                 {events: Opened, next: becomes(Established)},
		oldACK:              {reply: SendRST},
		ackOfUnsent:         {reply: SendRST},
		payload:             {events: Opened | Talked, next: becomes(Established)},
		payloadBeyondHole:   {events: Opened | Talked, next: becomes(Established)},
		payloadBeyondWindow: {reply: Challenge},
		payloadWithoutACK:   {},
		keepAlive:           {reply: Challenge},
		fin:                 {events: Opened | Finished, next: becomes(Established)},
		payloadAndFIN:       {events: Opened | Talked, next: becomes(Established)},
		finBeyondHole:       {events: Opened, reply: SendACK, next: becomes(Established)},
		rst:                 {events: Reset},
		rstElsewhere:        {reply: Challenge},
		rstOutside:          {},
	},
	Established: {
		synAgain:            {reply: Challenge},
		newSYN:              {reply: Challenge},
		synOutside:          {reply: Challenge},
		laterSYN:            {reply: Challenge},
		ack:                 {},
		oldACK:              {},
		ackOfUnsent:         {reply: Challenge},
		payload:             {events: Talked},
		payloadBeyondHole:   {events: Talked},
		payloadBeyondWindow: {reply: Challenge},
		payloadWithoutACK:   {},
		keepAlive:           {reply: Challenge},
		fin:                 {events: Finished},
		payloadAndFIN:       {events: Talked},
		finBeyondHole:       {reply: SendACK},
		rst:                 {events: Reset},
		rstElsewhere:        {reply: Challenge},
		rstOutside:          {},
	},
	FinWait1: {
		synAgain:            {reply: Challenge},
		newSYN:              {reply: Challenge},
		synOutside:          {reply: Challenge},
		laterSYN:            {reply: Challenge},
		ack:                 {events: Acked, next: becomes(FinWait2)},
		oldACK:              {},
		ackOfUnsent:         {reply: Challenge},
		payload:             {events: Acked, reply: SendACK, next: becomes(FinWait2)},
		payloadBeyondHole:   {events: Acked, reply: SendACK, next: becomes(FinWait2)},
		payloadBeyondWindow: {reply: Challenge},
		payloadWithoutACK:   {},
		keepAlive:           {reply: Challenge},
		fin:                 {events: Acked, reply: SendACK, next: becomes(TimeWait)},
		payloadAndFIN:       {events: Acked, reply: SendACK, next: becomes(TimeWait)},
		finBeyondHole:       {events: Acked, reply: SendACK, next: becomes(FinWait2)},
		rst:                 {events: Reset},
		rstElsewhere:        {reply: Challenge},
		rstOutside:          {},
	},
	FinWait2: {
		synAgain:            {reply: Challenge},
		newSYN:              {reply: Challenge},
		synOutside:          {reply: Challenge},
		laterSYN:            {reply: Challenge},
		ack:                 {},
		oldACK:              {},
		ackOfUnsent:         {reply: Challenge},
		payload:             {reply: SendACK},
		payloadBeyondHole:   {reply: SendACK},
		payloadBeyondWindow: {reply: Challenge},
		payloadWithoutACK:   {},
		keepAlive:           {reply: Challenge},
		fin:                 {reply: SendACK, next: becomes(TimeWait)},
		payloadAndFIN:       {reply: SendACK, next: becomes(TimeWait)},
		finBeyondHole:       {reply: SendACK},
		rst:                 {events: Reset},
		rstElsewhere:        {reply: Challenge},
		rstOutside:          {},
	},
	Closing: {
		synAgain:            {reply: Challenge},
		newSYN:              {reply: Challenge},
		synOutside:          {reply: Challenge},
		laterSYN:            {reply: Challenge},
		ack:                 {events: Acked, next: becomes(TimeWait)},
		oldACK:              {},
		ackOfUnsent:         {reply: Challenge},
		payload:             {events: Acked, next: becomes(TimeWait)},
		payloadBeyondHole:   {events: Acked, next: becomes(TimeWait)},
		payloadBeyondWindow: {reply: Challenge},
		payloadWithoutACK:   {},
		keepAlive:           {reply: Challenge},
		fin:                 {events: Acked, reply: SendACK, next: becomes(TimeWait)},
		payloadAndFIN:       {events: Acked, reply: SendACK, next: becomes(TimeWait)},
		finBeyondHole:       {events: Acked, reply: SendACK, next: becomes(TimeWait)},
		rst:                 {events: Reset},
		rstElsewhere:        {reply: Challenge},
		rstOutside:          {},
	},
	LastAck: {
		synAgain:            {reply: Challenge},
		newSYN:              {reply: Challenge},
		synOutside:          {reply: Challenge},
		laterSYN:            {reply: Challenge},
		ack:                 {events: Acked | Done},
		oldACK:              {},
		ackOfUnsent:         {reply: Challenge},
		payload:             {events: Acked | Done},
		payloadBeyondHole:   {events: Acked | Done},
		payloadBeyondWindow: {reply: Challenge},
		payloadWithoutACK:   {},
		keepAlive:           {reply: Challenge},
		fin:                 {events: Acked | Done},
		payloadAndFIN:       {events: Acked | Done},
		finBeyondHole:       {events: Acked | Done},
		rst:                 {events: Reset},
		rstElsewhere:        {reply: Challenge},
		rstOutside:          {},
	},
	TimeWait: {
		synAgain:            {reply: Challenge},
		newSYN:              {events: Restart},
		synOutside:          {reply: Challenge},
		laterSYN:            {events: Restart},
		ack:                 {},
		oldACK:              {},
		ackOfUnsent:         {reply: Challenge},
		payload:             {},
		payloadBeyondHole:   {},
		payloadBeyondWindow: {reply: Challenge},
		payloadWithoutACK:   {},
		keepAlive:           {reply: Challenge},
		fin:                 {reply: SendACK},
		payloadAndFIN:       {reply: SendACK},
		finBeyondHole:       {reply: SendACK},
		rst:                 {events: Reset},
		rstElsewhere:        {reply: Challenge},
		rstOutside:          {},
	},
}
