package dataplane

import (
	"slices"
	"time"

	"hushgate/internal/policy"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
	"hushgate/nat"
)

// ServiceID, FrontendID, BackendID and ServerID are indexes into the tables of a Config.
type (
	ServiceID  uint16
	FrontendID uint16
	BackendID  uint16
	ServerID   uint16
)

// NoServer is the ServerID of a flow without a server.
const NoServer ServerID = 0xffff

// ServerOptions are the TCP options that a server grants in its SYN-ACK.
type ServerOptions = nat.Options

// Config is all that a shard needs to know. It is valid (internal/config checks it) and must not be changed after it was
// passed in.
type Config struct {
	Services  []Service
	Frontends []Frontend
	Backends  []Backend
	Servers   []Server
	Names     Names

	// Policy says how the clients of those frontends are treated that name a number in it. Bounds are those of what a shard
	// remembers of its clients; they keep their first values.
	Policy *policy.Table `json:"-"`
	Bounds policy.Bounds `json:"-"`

	// Lists is the number of the present configuration of DNS lists. An EventAsk quotes it, and its DNSAnswer counts only for the
	// same one: a client is treated by the lists that it was asked for.
	Lists uint32 `json:"-"`

	// Turn is how many turns of each backend's round robin are skipped at the start. Each shard has its own round robin, and
	// so each begins with another server.
	Turn int

	// Shards is the number of shards, and Turn is this shard's number among them; 0 means 1. Each shard uses its own part of
	// the ports of a Source: those that leave the remainder Turn when divided by Shards.
	Shards int

	// Local are this machine's own addresses. Segments from servers to them, answers to health checks, are for the kernel.
	Local []wire.Addr

	// CookieKey and HashKey are secrets of 128 bits, drawn at random at each start; equal keys give equal runs.
	CookieKey, HashKey [2]uint64

	// Witness, if not nil, is shown the segments of connections that wait for their banner.
	Witness Witness

	OutsideMTU, InsideMTU int // octets of an IP packet; 0 means 1500
	Limits                Limits
}

// Names are what frontends and servers are called, by their numbers: another machine may number them otherwise. Both may be
// shorter than the tables, or empty.
type Names struct {
	Frontends []string
	Servers   []ServerName
}

// ServerName names a server.
type ServerName struct{ Backend, Server string }

func (n *Names) frontend(id FrontendID) string {
	if int(id) >= len(n.Frontends) {
		return ""
	}
	return n.Frontends[id]
}

func (n *Names) server(id ServerID) ServerName {
	if int(id) >= len(n.Servers) {
		return ServerName{}
	}
	return n.Servers[id]
}

// teases reports whether some clients get a teaser.
func (c *Config) teases() bool {
	for i := range c.Frontends {
		if c.Frontends[i].Teaser != "" {
			return true
		}
	}
	return c.Policy != nil && slices.ContainsFunc(c.Policy.Treatments(), func(t policy.Treatment) bool { return t.Teaser != "" })
}

// Service is an address and port at which clients are served.
type Service struct {
	Addr     wire.Addr
	Port     uint16
	Frontend FrontendID
	// Closed: existing connections go on, and a SYN gets an RST, as from a closed port.
	Closed bool
}

// Action is the answer to early talk.
type Action uint8

// The actions.
const (
	ActionReset      Action = iota // an RST
	ActionReply                    // Frontend.RejectText, then FIN
	ActionObserve                  // no answer: the talk is reported, and the connection goes on to a server
	ActionTarpit                   // the connection stays open with a closed window
	ActionSilentDrop               // no answer, now or later: the connection is forgotten (HAProxy: silent-drop)
)

// String returns the action's word.
func (a Action) String() string {
	switch a {
	case ActionReset:
		return "reset"
	case ActionReply:
		return "reply"
	case ActionObserve:
		return "observe"
	case ActionSilentDrop:
		return "silent-drop"
	case ActionTarpit:
		return "tarpit"
	}
	return "unknown"
}

// talk returns the action in policy's words.
func (a Action) talk() policy.Talk {
	switch a {
	case ActionReset:
	case ActionReply:
		return policy.TalkReply
	case ActionObserve:
		return policy.TalkObserve
	case ActionSilentDrop:
		return policy.TalkSilentDrop
	case ActionTarpit:
		return policy.TalkTarpit
	}
	return policy.TalkReset
}

// Frontend holds the rules for the clients of one frontend.
type Frontend struct {
	// Policy is 1 and the number of this frontend in Config.Policy, which then says what Delay, Action and the texts say too. With
	// 0 they say all.
	Policy       uint16        `json:",omitempty"`
	Delay        time.Duration // the hold; with 0 we connect to a server at once, and still watch for talk before the banner
	Action       Action
	RejectText   string // one SMTP reply with its CRLF, for ActionReply
	Teaser       string `json:",omitempty"` // with its CRLF, sent when the hold begins; not with a Delay of 0
	NoServerText string // one SMTP reply with its CRLF, sent when no server takes the connection
	Backend      BackendID
	Times        Times
	// HidePipeconnect hides the keyword PIPECONNECT in the servers' answers to EHLO: see package ehlo.
	HidePipeconnect bool `json:",omitempty"`
	Signatures      bool `json:",omitempty"` // tell the signatures of SYNs: see policy.Signature
	Live            bool `json:",omitempty"` // emit EventOpened and EventPassed
}

// Times bounds those phases of a connection that Delay, Connect and Queue do not bound. 0 means the default.
type Times struct {
	HalfOpen time.Duration // from the first SYN to the end of the handshake; 15 s
	Idle     time.Duration // after this silence in both directions a splice is reset on both sides; 2 h 4 min
	// ClientFIN and ServerFIN replace Idle once one end has sent its FIN: they bound the silence of the other end, the client
	// or the server. The default is Idle. (HAProxy: timeout client-fin, timeout server-fin)
	ClientFIN, ServerFIN time.Duration
	// TimeWait is how long the record of an ended connection is kept, and how long a client may take to close after our FIN;
	// 1 min.
	TimeWait time.Duration
	// Tarpit is how long a connection stays in the tarpit; 10 min.
	Tarpit time.Duration
}

// Backend is a set of servers that share the connections of its frontends.
type Backend struct {
	Servers []ServerID
	// Connect is how long a server may take to answer our SYN; 0 means 5 s. (HAProxy: timeout connect)
	Connect time.Duration
	// Queue is how long a connection may wait for a server to come up after its delay; with 0 it gets the 421 at once.
	// (HAProxy: timeout queue)
	Queue time.Duration
	// Retries is how many more attempts follow a failed first one. (HAProxy: retries)
	Retries int
	// Redispatch lets a retry use another server. (HAProxy: option redispatch)
	Redispatch bool
}

// Server is one mail server.
type Server struct {
	Addr    wire.Addr
	Port    uint16
	Weight  int // 0 to 256; a server with 0 gets no new connections
	Backup  bool
	Options ServerOptions // the options known when the shard starts
	Up      bool          // whether it is up when the shard starts; later changes come as messages

	// Proxy is the version of the PROXY header that we send before the client's data. (HAProxy: send-proxy)
	Proxy proxyproto.Version
	// Source is the server-side address: the one that the server sees its connections come from. (HAProxy: source)
	Source Source
}

// Source is a server-side address: an address of the gateway and a range of ports. The gateway connects from there to a
// server whose answers to clients would not pass through it. The zero value stands for the client's own address and port.
type Source struct {
	Addr        wire.Addr // of the server's family
	First, Last uint16    // the range of ports, both included; nothing else may use them
}

// Limits bounds what strangers can make a shard store or send. Zero means the default.
type Limits struct {
	Flows    int // flow records; default 1,000,000
	HalfOpen int // half-open records; default 65,536. Beyond them a SYN is answered with a cookie
	Tarpit   int // connections in the tarpit, over all shards; default a quarter of Flows. Beyond them a client is reset
	RSTsPerS int // RSTs for segments of unknown connections; default 1,000
	ACKsPerS int // challenge ACKs, and ACKs that answer unacceptable segments; default 1,000
}
