package config

import (
	"fmt"
	"net/netip"
	"time"

	"hushgate/internal/policy"
)

// Config is a configuration in which every name is resolved and every default filled in. It does not change after Load has
// returned it.
type Config struct {
	File      string
	SHA256    string `json:"-"` // of the file's octets, in hexadecimal; empty if it was not read from a file
	Global    Global
	Frontends []Frontend
	Backends  []Backend
	Lists     []List // by the number in policy.Test and policy.Outcome
}

// Global holds the settings of the process.
type Global struct {
	Outside  []string // interfaces towards the clients; empty: found from the routes
	Inside   []string // interfaces towards the servers; empty: found from the routes
	Shards   int      // 0: one for each processor
	MaxConn  int      // connections in all phases, over all shards (HAProxy: maxconn)
	Tarpit   int      // connections in the tarpit, over all shards; 0: a quarter of MaxConn
	HalfOpen int      // half-open connections of one shard; beyond them SYN cookies are used; 0: 65,536 (see HalfOpenWarning)
	// ReceiveBuffer is the size of the kernel's queue of each packet socket, in octets; 0: 32 MiB. Each shard has a socket
	// for each IP version on each interface.
	ReceiveBuffer int
	// HardStopAfter limits how long spliced connections may go on after SIGTERM. (HAProxy's hard-stop-after has no limit by
	// default.)
	HardStopAfter time.Duration
	Fail          Fail
	// Announce makes the gateway answer ARP and neighbour solicitations on the outside for service addresses that are on no
	// interface, and announce them there.
	Announce bool
	// Metrics is the address and port at which Prometheus reads /metrics, or NoMetrics.
	Metrics string
	// ReversePath decides by which interfaces answers to clients may leave.
	ReversePath ReversePath
	Logs        []LogTarget
	// LogSampleAbove is how many lines about rejected clients of a frontend are written in a second; 0: all.
	LogSampleAbove int
	// Recall is how many connections that have ended are remembered for those who ask about a client; 0: none.
	Recall    int
	LogTag    string // for lines of frontends that have none; empty: hushgate
	Firewall  Firewall
	API       API
	RemoteAPI RemoteAPI `json:",omitzero"`
	Stats     Stats
	Capture   Capture
	// Passes, PrefixLength and RateWindow are about what is remembered of clients.
	Passes       Passes
	PrefixLength PrefixLength
	RateWindow   time.Duration // over which Limits.Rate counts
	AccessWatch  bool          // the files of access lists are read again when they change
	DNSLists     DNSLists
	Offenders    Offenders `json:",omitzero"`
}

// LogTarget is one `log` line: where connection lines and notices go.
type LogTarget struct {
	// Address is "stdout", "stderr", "/dev/log" (a unix datagram socket), "host:port" (UDP syslog), "tcp@host:port",
	// "tls@host:port", "file@/path", "journal", or "journal@/path". A 4 or 6 after udp, tcp and tls chooses the address family.
	Address  string
	Format   string // how a message begins: one of logFormats
	Facility string // syslog facility's name: local0, mail, ...
	Level    string // the least urgent level sent: emerg ... debug
	Tag      string // the program's name in messages; empty: hushgate
	Length   int    // longer messages are cut; 0: none is
	Proto    string // TCP and TLS: "octet-count" or "legacy", a newline after each message (HAProxy: log-proto)

	// How a TLS syslog is recognised.
	CAFile     string // certificates of authorities; empty: the system's
	Crt        string // our certificate and its key, in one file; empty: none
	VerifyHost string // the name in its certificate; empty: the host in Address
	Verify     string // "required" or "none"
}

// Firewall says what hushgate may do to the kernel's packet filter besides its own drop rules in the raw table.
type Firewall struct {
	Manage     bool // false: print, do not install (`hushgate rules`)
	Forward    bool // accept the servers' other traffic in filter FORWARD
	Masquerade bool // masquerade the servers' outgoing connections
	// SNAT replaces the address that Masquerade would give to the servers' outgoing connections. It has at most one address
	// of each family.
	SNAT     []netip.Addr
	ClampMSS bool // reduce the MSS of the servers' other connections to what the path MTU allows
	Sysctls  bool // set ip_forward and, on one arm, send_redirects as needed, and restore them at exit
}

// NoMetrics is the value of Global.Metrics without a listener.
const NoMetrics = "none"

// ReversePath says which clients on the outside are answered, judged by the route to their address (RFC 3704). Frames to all
// other addresses are dropped.
type ReversePath string

// The values of ReversePath.
const (
	PathStrict ReversePath = "strict" // clients to whom a route leads by an outside interface
	PathLoose  ReversePath = "loose"  // also clients behind a router on the inside, but not in the inside networks themselves, and no servers
	PathOff    ReversePath = "off"    // all clients that are not this machine itself
)

// Fail says what happens to clients while no hushgate runs.
type Fail string

// The values of Fail.
const (
	FailClosed Fail = "closed" // clients cannot connect, and try again later
	FailOpen   Fail = "open"   // the kernel forwards clients to the servers
)

// LogFormat is the format of connection lines.
type LogFormat string

// The values of LogFormat.
const (
	LogTCP        LogFormat = "tcplog" // HAProxy's `option tcplog`
	LogJSON       LogFormat = "json"
	LogPostscreen LogFormat = "postscreen"
	LogPflogsumm  LogFormat = "pflogsumm" // postscreen's lines, and one for each rejected client that pflogsumm counts
	LogNone       LogFormat = "none"
	LogCustom     LogFormat = "custom" // Frontend.LogString
)

// Postscreen reports whether the lines are postscreen's, which come when something happens.
func (f LogFormat) Postscreen() bool { return f == LogPostscreen || f == LogPflogsumm }

// Action is the answer to an early talker.
type Action string

// The values of Action.
const (
	ActionReset Action = "reset" // RST
	ActionReply Action = "reply" // Frontend.RejectText and FIN
	// ActionTempfail is ActionReply with a text that begins with 4: come again.
	ActionTempfail Action = "tempfail"
	// ActionObserve answers nothing: the early talk is logged and delivered to the server.
	ActionObserve Action = "observe"
	// ActionTarpit keeps the connection open with a closed window.
	ActionTarpit Action = "tarpit"
	// ActionSilentDrop answers nothing any more (HAProxy: silent-drop).
	ActionSilentDrop Action = "silent-drop"
)

// Frontend is a `frontend`, or the client half of a `listen`.
type Frontend struct {
	Name          string
	Binds         []Bind
	Closed        bool          `json:",omitzero"` // new connections get an RST: set by hand, there is no setting
	Delay         time.Duration // tcp-request inspect-delay
	Action        Action
	RejectText    string        // one line without CRLF: "554 5.5.1 Protocol error"
	NoServerText  string        // one line without CRLF: "421 4.3.2 Service not available"
	Teaser        string        // one line without CRLF: "220-mx.example.net ESMTP"; empty: none
	Backend       string        // name; always one of Config.Backends
	ClientTimeout time.Duration // timeout client; 0: not set
	ClientFIN     time.Duration // timeout client-fin; 0: the same as without a FIN
	HalfOpen      time.Duration // time limit of the handshake; 0: 15 s
	TimeWait      time.Duration // how long an ended connection is remembered; 0: 1 min
	TarpitTime    time.Duration // how long a connection stays in the tarpit; 0: 10 min
	Log           []LogTarget
	LogFormat     LogFormat
	LogString     string // HAProxy's log-format, for LogCustom
	// HidePipeconnect hides PIPECONNECT in the servers' answers to EHLO.
	HidePipeconnect bool
	DontLogNull     bool // no line for connections that ended in the hold without an octet (option dontlognull)
	Pass            PassMode
	Veto            bool          // a client that has no pass gets none by a connection to this frontend
	PassDelay       time.Duration // how long a client with a pass waits
	DNSLists        bool          // Global.DNSLists are asked about clients that wait
	Limits          Limits
	Stress          bool          // StressDelay is set
	StressDelay     time.Duration // the longest delay while a table is nearly full
	// Admission are HAProxy's rules tcp-request connection, Access are all other rules about clients.
	Admission, Access []policy.Rule
}

// Bind is an address and port that clients connect to.
type Bind struct {
	Addr      netip.Addr // unspecified (0.0.0.0 or ::): every address of that family on the outside interfaces
	AnyFamily bool       // unspecified, and both families: `bind :25` where the backend has servers of both
	Port      uint16
	Interface string // `bind ... interface eth0`; empty: any outside interface
}

// String returns the bind in the syntax of a bind line.
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
	Queue         time.Duration // timeout queue; default 0: a client is told at once that no server is up
	ServerTimeout time.Duration // timeout server; 0: not set
	ServerFIN     time.Duration // timeout server-fin; 0: the same as without a FIN
}

// CheckKind is what a health check does after it has connected.
type CheckKind string

// The kinds of check.
const (
	CheckTCP  CheckKind = "tcp"  // connects, nothing more
	CheckSMTP CheckKind = "smtp" // option smtpchk
)

// Check says how a backend's servers are checked.
type Check struct {
	Kind    CheckKind
	Verb    string        // HELO or EHLO
	Domain  string        // the verb's argument
	Timeout time.Duration // timeout check; 0: not set, then the server's Inter applies
}

// Server is one `server` line, with `default-server` applied.
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
	Proxy                       int    // version of the PROXY header that begins each connection; 0: none
	CheckProxy                  int    // the same for health checks
	Source                      Source // `source`, the server-side address; the backend's unless the server has its own
	Line                        int    // line in the configuration file, for messages
}
