package dataplane

import (
	"time"

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

// NoServer is the ServerID of a flow that has none.
const NoServer ServerID = 0xffff

// ServerOptions is what a server's TCP grants in its SYN-ACK.
type ServerOptions = nat.Options

// Config is all that a shard needs to know. It is valid by construction (internal/config sees to that) and is not
// changed after it was passed in.
type Config struct {
	Services  []Service
	Frontends []Frontend
	Backends  []Backend
	Servers   []Server

	// Turn is how many turns of each backend's round robin are passed over at the start: shards, which each have their own
	// round robin, begin with different servers.
	Turn int

	// Shards is how many shards there are, of which this one is number Turn; 0 means 1. Each has its share of the ports of
	// a Source: those whose remainder, divided by Shards, is its Turn.
	Shards int

	// Local are this machine's own addresses: what servers send there, the answers to health checks, is the kernel's.
	Local []wire.Addr

	// CookieKey and HashKey are secrets of 128 bits, drawn anew at each start; the same keys give the same run.
	CookieKey, HashKey [2]uint64

	// Witness, which may be nil, sees the segments of connections that wait for their banner.
	Witness Witness

	OutsideMTU, InsideMTU int // octets of IP packet; 0 means 1500
	Limits                Limits
}

// Service is one address and port on which clients are served.
type Service struct {
	Addr     wire.Addr
	Port     uint16
	Frontend FrontendID
	// Closed: what stands goes on, and a SYN gets an RST, as from a port on which nobody listens.
	Closed bool
}

// Action is what an early talker gets.
type Action uint8

// The actions.
const (
	ActionReset   Action = iota // RST
	ActionReply                 // Frontend.RejectText, then FIN
	ActionObserve               // nothing: it is told of, and goes on to a server
)

// Frontend holds the rules for the clients of one frontend.
type Frontend struct {
	Delay        time.Duration // the hold; 0 connects to a server at once, the watch for the banner stays
	Action       Action
	RejectText   string // one SMTP reply with its CRLF, for ActionReply
	NoServerText string // one SMTP reply with its CRLF, said when no server can be had
	Backend      BackendID
	Times        Times
	Live         bool `json:",omitempty"` // EventOpened and EventPassed are wanted
}

// Times bounds the phases of a connection that the delay, Backend.Connect and Backend.Queue do not. 0 means the default.
type Times struct {
	HalfOpen time.Duration // from a SYN on, until the handshake must be completed; 15 s
	Idle     time.Duration // spliced and silent in both directions for so long: both are reset; 2 h 4 min
	// ClientFIN and ServerFIN take the place of Idle when the other end has sent its FIN: for so long the client, or the
	// server, may be silent that has not. The default is Idle. (HAProxy: timeout client-fin, timeout server-fin)
	ClientFIN, ServerFIN time.Duration
	// TimeWait is how long a connection that has ended is remembered, and how long a client may take to close behind our
	// FIN; 1 min.
	TimeWait time.Duration
}

// Backend is a set of servers that share the connections of its frontends.
type Backend struct {
	Servers []ServerID
	// Connect is how long a server may take to answer our SYNs; 0 means 5 s. (HAProxy: timeout connect)
	Connect time.Duration
	// Queue is how long a connection that has waited may wait on for a server to come up; 0 means that it is told so
	// at once. (HAProxy: timeout queue)
	Queue time.Duration
	// Retries is how many attempts at servers may follow a failed first one. (HAProxy: retries)
	Retries int
	// Redispatch lets a retry go to another server. (HAProxy: option redispatch)
	Redispatch bool
}

// Server is one mail server.
type Server struct {
	Addr    wire.Addr
	Port    uint16
	Weight  int // 0 to 256; 0 takes no new connections
	Backup  bool
	Options ServerOptions // what is known of it when the shard starts
	Up      bool          // its state when the shard starts; later changes come as messages

	// Proxy is the version of the PROXY header that goes ahead of what the client says. (HAProxy: send-proxy)
	Proxy proxyproto.Version
	// Source is where the server sees its connections come from. (HAProxy: source)
	Source Source
}

// Source is an address of the gateway's own and a range of ports, from which it connects to a server that cannot answer
// clients through it. The zero value stands for the client's address and port.
type Source struct {
	Addr        wire.Addr // of the server's family
	First, Last uint16    // the ports, both included; none of them is used by anything else
}

// Limits bounds what strangers can make a shard hold or send. Zero values mean the defaults.
type Limits struct {
	Flows    int // flow records; default 1,000,000
	HalfOpen int // half-open records; default 65,536. SYNs beyond them are answered from a cookie
	RSTsPerS int // RSTs for segments of unknown connections; default 1,000
	ACKsPerS int // challenge ACKs and answers to unacceptable segments; default 1,000
}
