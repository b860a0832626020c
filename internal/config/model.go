package config

import (
	"fmt"
	"net/netip"
	"time"
)

// Config is a configuration in which every name is resolved and every default filled in. It is not changed after
// Load returned it.
type Config struct {
	File      string
	Global    Global
	Frontends []Frontend
	Backends  []Backend
}

// Global is what belongs to the process.
type Global struct {
	Outside  []string // interfaces towards the clients; empty: found from the routes
	Inside   []string // interfaces towards the servers; empty: found from the routes
	Shards   int      // 0: one for each processor
	MaxConn  int      // connections in all phases, over all shards (HAProxy: maxconn)
	HalfOpen int      // half-open connections of one shard, beyond which SYN cookies are used; 0: 65,536 (see HalfOpenWarning)
	// ReceiveBuffer is the kernel's queue of each packet socket, in octets; 0: 32 MiB. There is a socket for each interface
	// and shard.
	ReceiveBuffer int
	// HardStopAfter is how long what is handed to a server may go on after SIGTERM. (HAProxy: hard-stop-after, which is for
	// ever by default)
	HardStopAfter time.Duration
	Fail          Fail
	// Announce is whether service addresses that are on no interface are answered for on the outside, and announced there.
	Announce bool
	// ReversePath is by which interfaces answers to clients may leave.
	ReversePath ReversePath
	Logs        []LogTarget
	Firewall    Firewall
	Capture     Capture
}

// LogTarget is one `log` line: where connection lines and notices go.
type LogTarget struct {
	Address  string // "stdout", "stderr", "/dev/log" (a unix datagram socket), "host:port" (UDP syslog)
	Format   string // "raw" (no syslog header), "rfc3164", "local" (rfc3164 without the host's name) or "rfc5424"
	Facility string // syslog facility's name: local0, mail, ...
	Level    string // the least urgent level sent: emerg ... debug
}

// Firewall says what hushgate may do to the kernel's packet filter beside its own drops in the raw table.
type Firewall struct {
	Manage     bool // false: print, do not install (`hushgate rules`)
	Forward    bool // accept the servers' other traffic in filter FORWARD
	Masquerade bool // masquerade the servers' outgoing connections
	// SNAT is where the servers' outgoing connections come from in place of what Masquerade would take: at most one address
	// of each family.
	SNAT     []netip.Addr
	ClampMSS bool // bring the MSS of the servers' other connections down to what the way takes
	Sysctls  bool // set ip_forward and, on one arm, send_redirects as needed, and restore them at exit
}

// ReversePath is where a client outside may be, going by the route to its address (RFC 3704). What is addressed to anywhere
// else is not sent.
type ReversePath string

// The choices.
const (
	PathStrict ReversePath = "strict" // where a route by the outside leads
	PathLoose  ReversePath = "loose"  // also behind a router of the inside; not in its networks, and not a server
	PathOff    ReversePath = "off"    // anywhere but on this machine
)

// Fail is what becomes of clients when there is no hushgate.
type Fail string

// The ways to fail.
const (
	FailClosed Fail = "closed" // nobody comes in: they try again later
	FailOpen   Fail = "open"   // the kernel hands them to the servers
)

// LogFormat is the shape of connection lines.
type LogFormat string

// The shapes.
const (
	LogTCP        LogFormat = "tcplog" // HAProxy's `option tcplog`
	LogJSON       LogFormat = "json"
	LogPostscreen LogFormat = "postscreen"
	LogNone       LogFormat = "none"
)

// Action is what an early talker gets.
type Action string

// The actions.
const (
	ActionReset Action = "reset" // RST
	ActionReply Action = "reply" // Frontend.RejectText and FIN
	// ActionObserve is nothing: the talk is logged, and what came early is delivered.
	ActionObserve Action = "observe"
)

// Frontend is a `frontend`, or the client half of a `listen`.
type Frontend struct {
	Name          string
	Binds         []Bind
	Delay         time.Duration // tcp-request inspect-delay
	Action        Action
	RejectText    string        // one line without CRLF: "554 5.5.1 Protocol error"
	NoServerText  string        // one line without CRLF: "421 4.3.2 Service not available"
	Backend       string        // name; always one of Config.Backends
	ClientTimeout time.Duration // timeout client; 0: not set
	ClientFIN     time.Duration // timeout client-fin; 0: as without a FIN
	HalfOpen      time.Duration // until the handshake is completed; 0: 15 s
	TimeWait      time.Duration // how long an ended connection is remembered; 0: 1 min
	Log           []LogTarget
	LogFormat     LogFormat
	DontLogNull   bool // no line for connections that ended in the hold without a byte (option dontlognull)
}

// Bind is an address and port that clients connect to.
type Bind struct {
	Addr      netip.Addr // unspecified (0.0.0.0 or ::): every address of the outside interfaces, of that family
	AnyFamily bool       // unspecified, and both families; `bind :25` where the backend has servers of both
	Port      uint16
	Interface string // `bind ... interface eth0`; empty: any outside interface
}

// String writes the bind as a bind line does.
func (b Bind) String() string {
	s := netip.AddrPortFrom(b.Addr, b.Port).String()
	if b.AnyFamily {
		s = fmt.Sprintf(":%d", b.Port)
	}
	if b.Interface != "" {
		s += " interface " + b.Interface
	}
	return s
}

// Backend is a `backend`, or the server half of a `listen`.
type Backend struct {
	Name          string
	Servers       []Server
	Check         Check
	Retries       int           // retries; default 3
	Redispatch    bool          // option redispatch; hushgate's default is on
	Connect       time.Duration // timeout connect; default 5 s
	Queue         time.Duration // timeout queue; default 0: a connection for which no server is up is told so at once
	ServerTimeout time.Duration // timeout server; 0: not set
	ServerFIN     time.Duration // timeout server-fin; 0: as without a FIN
}

// CheckKind is what a health check does after it connected.
type CheckKind string

// The kinds of check.
const (
	CheckTCP  CheckKind = "tcp"  // connects, nothing more
	CheckSMTP CheckKind = "smtp" // option smtpchk
)

// Check is how a backend's servers are checked.
type Check struct {
	Kind    CheckKind
	Verb    string        // HELO or EHLO
	Domain  string        // the verb's argument
	Timeout time.Duration // timeout check; 0: not set, then the server's Inter
}

// Server is one `server` line, `default-server` applied.
type Server struct {
	Name                        string
	Addr                        netip.Addr
	Port                        uint16
	Check                       bool
	CheckAddr                   netip.Addr    // `addr`; the server's own unless set
	CheckPort                   uint16        // `port`; the server's own unless set
	Inter, FastInter, DownInter time.Duration // inter 2 s; the others default to Inter
	Rise, Fall                  int           // 2 and 3
	Weight                      int           // 0 to 256, default 1
	Backup                      bool
	Disabled                    bool   // starts in maintenance: no check, no connections
	Proxy                       int    // version of the PROXY header that clients are announced by; 0: none
	CheckProxy                  int    // version of that of health checks
	Source                      Source // source; of the backend unless the server has its own
	Line                        int    // of the configuration file, for messages
}
