package admin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// The resources as the API shows them. Durations are whole milliseconds, times RFC 3339, octets counted once even if they were
// sent again. openapi.yaml describes each member.

// Status is the state of the process as a whole.
type Status struct {
	Version       string           `json:"version"`
	PID           int              `json:"pid"`
	Started       time.Time        `json:"started"`
	UptimeMs      int64            `json:"uptime_ms"`
	State         State            `json:"state"`
	Ready         bool             `json:"ready"`
	Configuration Configuration    `json:"configuration"`
	Shards        int              `json:"shards"`
	Interfaces    []Interface      `json:"interfaces"`
	MaxConn       int              `json:"maxconn"`
	Connections   map[string]int64 `json:"connections"` // by phase
	Stress        bool             `json:"stress"`
	Servers       ServerCount      `json:"servers"`
	Memory        Memory           `json:"memory"`
	Losses        Losses           `json:"losses"`
	Logs          []LogTarget      `json:"logs"`
	Warnings      []string         `json:"warnings"`
}

// State is the stage of the process's life.
type State string

// The states.
const (
	StateRunning  State = "running"
	StateStopping State = "stopping" // no new connections are accepted, mail in flight goes on
)

// Configuration names the configuration in force.
type Configuration struct {
	File     string    `json:"file"`
	SHA256   string    `json:"sha256"` // of the file's octets
	Loaded   time.Time `json:"loaded"`
	Warnings []string  `json:"warnings"`
	Refused  *Refusal  `json:"refused"` // null: the latest reload succeeded, or there was none
}

// Refusal says why a reload failed.
type Refusal struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // the beginning of it, on one line; the log has all
}

// Interface is a network interface that the gateway uses.
type Interface struct {
	Name    string `json:"name"`
	Outside bool   `json:"outside"`
	Inside  bool   `json:"inside"`
	Present bool   `json:"present"` // it exists, and frames are read from it
}

// ServerCount says how many servers take new connections.
type ServerCount struct {
	Usable int `json:"usable"` // up, and neither drained nor in maintenance
	Total  int `json:"total"`
}

// Memory says how much is remembered of clients, over all shards. An entry is forgotten some time after it has ceased to count.
type Memory struct {
	Passes       int   `json:"passes"`
	MaxPasses    int   `json:"max_passes"`
	Clients      int   `json:"clients"` // whose connections are counted
	MaxClients   int   `json:"max_clients"`
	Offenders    int   `json:"offenders"`
	MaxOffenders int   `json:"max_offenders"`
	RateWindowMs int64 `json:"rate_window_ms"`     // in which ClientUsage.Rate counts new connections
	WithinMs     int64 `json:"offender_within_ms"` // for how long an offence counts
}

// Losses are frames lost on this machine.
type Losses struct {
	ReceiveQueueFull uint64 `json:"receive_queue_full"`
	NotSent          uint64 `json:"not_sent"`
}

// LogTarget is the state of one target of log lines.
type LogTarget struct {
	Target  string `json:"target"`
	Written uint64 `json:"written"`
	Lost    uint64 `json:"lost"`
	Waiting int    `json:"waiting"`
}

// Frontend is a frontend of the configuration.
type Frontend struct {
	Name              string            `json:"name"`
	Backend           string            `json:"backend"`
	Services          []Service         `json:"services"`
	Disabled          bool              `json:"disabled"` // by hand: it takes no new connections
	DelayMs           int64             `json:"delay_ms"`
	ConfiguredDelayMs int64             `json:"configured_delay_ms"` // what the configuration says; another DelayMs was set by hand
	OnEarlyTalk       string            `json:"on_early_talk"`
	Connections       int               `json:"connections"`     // whose handshake is complete, and that have not ended
	Ended             uint64            `json:"ended"`           // all that have ended
	Verdicts          map[string]uint64 `json:"verdicts"`        // of those
	BytesToClient     uint64            `json:"bytes_to_client"` // of those
	BytesToServer     uint64            `json:"bytes_to_server"`
	LastEarlyTalk     *Verdict          `json:"last_early_talk"` // null: there was none in this process
	Removed           bool              `json:"removed"`         // by a reload; its connections go on
}

// Service is an address and port at which clients are served.
type Service struct {
	Address     string `json:"address"` // "192.0.2.25:25"
	Connections int    `json:"connections"`
	Closed      bool   `json:"closed"` // it takes no new connections
}

// Server is a server of a backend.
type Server struct {
	Backend          string      `json:"backend"`
	Name             string      `json:"name"`
	Address          string      `json:"address"`
	Backup           bool        `json:"backup"`
	State            ServerState `json:"state"`
	Weight           int         `json:"weight"`
	ConfiguredWeight int         `json:"configured_weight"`
	ByHand           bool        `json:"by_hand"`     // state, weight or checks were set by hand
	Up               bool        `json:"up"`          // as its checks say; true if it has none
	Since            *time.Time  `json:"since"`       // since when it is up or down; null if that has not changed since the start
	Connections      int         `json:"connections"` // that it has, or is being asked to take
	Ended            uint64      `json:"ended"`
	Failed           uint64      `json:"failed"`          // attempts to connect that failed
	BytesToClient    uint64      `json:"bytes_to_client"` // of connections that have ended
	BytesToServer    uint64      `json:"bytes_to_server"`
	Check            *Check      `json:"check"`   // null if the server is not checked
	Removed          bool        `json:"removed"` // by a reload; its connections go on
}

// ServerState is what an administrator wants of a server.
type ServerState string

// The states.
const (
	ServerReady ServerState = "ready" // it gets new connections while it is up
	ServerDrain ServerState = "drain" // no new connections; it is checked
	ServerMaint ServerState = "maint" // no new connections, no checks
)

// ServerName names a server.
type ServerName struct{ Backend, Name string }

// ServerChange is what is to change of a server.
type ServerChange struct {
	State  *ServerState   `json:"state"`
	Weight Optional[*int] `json:"weight"` // null: the configuration's
	Checks *bool          `json:"checks"`
	Up     *bool          `json:"up,omitempty"` // until a check says otherwise
}

// FrontendChange is what is to change of a frontend.
type FrontendChange struct {
	DelayMs  Optional[*int64] `json:"delay_ms,omitzero"` // null: the configuration's
	Disabled *bool            `json:"disabled,omitempty"`
}

// Optional is a member of a JSON object that may be left out.
type Optional[T any] struct {
	Set   bool
	Value T
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *Optional[T]) UnmarshalJSON(text []byte) error {
	o.Set = true
	return json.Unmarshal(text, &o.Value)
}

// MarshalJSON implements json.Marshaler.
func (o Optional[T]) MarshalJSON() ([]byte, error) { return json.Marshal(o.Value) }

// IsZero makes omitzero leave out what is not set.
func (o Optional[T]) IsZero() bool { return !o.Set }

// ConnectionFilter selects connections: those that have all that is asked for.
type ConnectionFilter struct {
	ID       ConnectionID // 0: any
	Phases   []string
	Client   netip.Prefix   // not valid: all
	Port     uint16         // of the client; 0: any
	Service  netip.AddrPort // not valid: all
	Frontend string
	Server   ServerName
}

// ConnectionID names a connection until it ends, or until another process takes over. It is never 0.
type ConnectionID uint64

// String returns the id as HAProxy's commands write it.
func (id ConnectionID) String() string { return fmt.Sprintf("%#x", uint64(id)) }

// MarshalText implements encoding.TextMarshaler: numbers of JSON have too few digits in many programs.
func (id ConnectionID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ConnectionID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 0, 64)
	*id = ConnectionID(n)
	return err
}

// parseID reads the id that a request names.
func parseID(text string) (id ConnectionID, err error) {
	if err = id.UnmarshalText([]byte(text)); err != nil || id == 0 {
		return 0, fmt.Errorf("expected the id of a connection such as 0x100002a5f31c7, found %q", clip(text))
	}
	return id, nil
}

// ConnectionQuery asks for a part of the connections.
type ConnectionQuery struct {
	ConnectionFilter
	Cursor string // ConnectionPage.Next of the part before
	Limit  int
}

// ConnectionPage is a part of the connections.
type ConnectionPage struct {
	Connections []Connection `json:"connections"`
	Next        string       `json:"next"` // the cursor with which to go on; empty: there are no more
}

// Connection is a connection that has a record.
type Connection struct {
	ID            ConnectionID `json:"id"`
	Client        string       `json:"client"`  // address and port
	Service       string       `json:"service"` // address and port
	Frontend      string       `json:"frontend"`
	Backend       string       `json:"backend"`
	Server        string       `json:"server"` // empty while there is none
	Source        string       `json:"source"` // address and port that the server sees, if not the client's
	Phase         string       `json:"phase"`
	Began         time.Time    `json:"began"` // the first SYN
	AgeMs         int64        `json:"age_ms"`
	EstablishedMs *int64       `json:"established_ms"` // how long the handshake took
	DelayMs       int64        `json:"delay_ms"`       // that was decided for it
	DelayLeftMs   *int64       `json:"delay_left_ms"`  // null unless it is held
	ConnectedMs   *int64       `json:"connected_ms"`   // from the handshake on
	BannerMs      *int64       `json:"banner_ms"`      // from the handshake on
	Rule          string       `json:"rule"`           // that decided how it is treated
	Pass          string       `json:"pass"`
	Observed      bool         `json:"observed"` // it talked early, and goes on
	Retries       int          `json:"retries"`
	BytesToClient uint64       `json:"bytes_to_client"`
	BytesToServer uint64       `json:"bytes_to_server"`
}

// KillRequest selects the connections that are to end.
type KillRequest struct {
	ID       string   `json:"id"`
	Client   string   `json:"client"`  // address, address and port, or network
	Service  string   `json:"service"` // address and port
	Frontend string   `json:"frontend"`
	Server   string   `json:"server"` // backend/server
	Phases   []string `json:"phases"`
	How      string   `json:"how"` // "reply" (usual) or "reset"
}

// Ended says how many connections were ended.
type Ended struct {
	Ended int `json:"ended"`
}

// Verdict is a connection that has ended. Times in milliseconds count from the handshake on; null if the event did not happen.
type Verdict struct {
	Time          time.Time `json:"time"`
	Client        string    `json:"client"`
	ClientPort    int       `json:"client_port"`
	Service       string    `json:"service"`
	Frontend      string    `json:"frontend"`
	Backend       string    `json:"backend"`
	Server        string    `json:"server"`
	Verdict       string    `json:"verdict"`
	Cause         string    `json:"cause"`
	Rule          string    `json:"rule"`
	Pass          string    `json:"pass"`
	Signature     string    `json:"signature"`
	Observed      bool      `json:"observed"`
	HeldMs        *int64    `json:"held_ms"`
	FirstByteMs   *int64    `json:"first_byte_ms"`
	BannerMs      *int64    `json:"banner_ms"`
	TotalMs       int64     `json:"total_ms"`
	BytesToClient uint64    `json:"bytes_to_client"`
	BytesToServer uint64    `json:"bytes_to_server"`
	Retries       int       `json:"retries"`
	TalkBytes     int       `json:"talk_bytes"`
	Talk          string    `json:"talk"` // its first octets, escaped
}

// ClientQuery asks for a part of what is known of clients.
type ClientQuery struct {
	Client netip.Prefix // not valid: all
	Cursor string
	Limit  int
}

// Pass belongs to a client that has waited.
type Pass struct {
	Client string `json:"client"` // a network
	AgeMs  int64  `json:"age_ms"`
	LeftMs int64  `json:"left_ms"`
}

// PassPage is a part of the passes.
type PassPage struct {
	Passes []Pass `json:"passes"`
	Next   string `json:"next"`
}

// Offender is a client that has talked early.
type Offender struct {
	Client        string  `json:"client"`  // a network
	Listed        bool    `json:"listed"`  // often enough to be treated as an offender
	LeftMs        *int64  `json:"left_ms"` // null: for ever
	OffenceAgesMs []int64 `json:"offence_ages_ms"`
	Kernel        bool    `json:"kernel"` // the kernel drops its SYNs
}

// OffenderPage is a part of the offenders.
type OffenderPage struct {
	Offenders []Offender `json:"offenders"`
	Next      string     `json:"next"`
}

// ClientUsage is what a client has of its limits.
type ClientUsage struct {
	Client      string `json:"client"` // a network
	Connections int    `json:"connections"`
	Rate        int    `json:"rate"` // new ones in the configuration's rate-window
}

// ClientPage is a part of the clients.
type ClientPage struct {
	Clients []ClientUsage `json:"clients"`
	Next    string        `json:"next"`
}

// ClientRequest names a client.
type ClientRequest struct {
	Client string `json:"client"` // an address: it stands for the client that it belongs to
}

// OffenderRequest names a client that is to be an offender.
type OffenderRequest struct {
	Client string `json:"client"` // an address, or the network that the configuration counts as one client
	ForMs  int64  `json:"for_ms"` // 0: as long as the configuration says
}

// ClientName names a client.
type ClientName struct {
	Client string `json:"client"` // a network
}

// Check is what is known of a server's health.
type Check struct {
	Enabled    bool              `json:"enabled"`
	Rise       int               `json:"rise"`
	Fall       int               `json:"fall"`
	Health     int               `json:"health"` // HAProxy's counter: from rise on the server is up
	Code       string            `json:"code"`   // HAProxy's name of the last result, such as L7OK; empty before the first check
	Status     int               `json:"status"` // the SMTP reply that decided, or 0
	Text       string            `json:"text"`   // the result in words
	DurationMs int64             `json:"duration_ms"`
	At         *time.Time        `json:"at"` // when the last check ended
	Checks     uint64            `json:"checks"`
	Failures   uint64            `json:"failures"`
	Results    map[string]uint64 `json:"results"` // checks by Code
	Downs      uint64            `json:"downs"`   // how often checks have turned the server down
}

// Counter is one number of the gateway.
type Counter struct {
	Name   string            `json:"name"`
	Help   string            `json:"help"`
	Labels map[string]string `json:"labels"` // distinguish numbers of one name
	Unit   string            `json:"unit"`   // "nanoseconds" or "unix nanoseconds"; empty for what is counted
	Gauge  bool              `json:"gauge"`  // a present number that can shrink
	Count  uint64            `json:"count"`  // over all shards, unless a label names one
}

// History has the latest samples of what the gateway did, oldest first. Each list of numbers is as long as Times.
type History struct {
	Started     time.Time           `json:"started"` // when the process began: another one numbers its own samples
	StepMs      int64               `json:"step_ms"` // from one sample to the next
	First       uint64              `json:"first"`   // the number of the first sample
	Times       []time.Time         `json:"times"`
	Connections map[string][]int64  `json:"connections"` // present ones, by phase
	Verdicts    map[string][]uint64 `json:"verdicts"`    // connections that have ended since the sample before, by verdict
}

// Silences says how long clients kept silent: how many there were up to each bound and above the one before it, and beyond
// the last bound.
type Silences struct {
	Since     time.Time `json:"since"`
	BoundsMs  []int64   `json:"bounds_ms"`
	EarlyTalk []uint64  `json:"early_talk"` // until the first octet of those who talked early
	Quiet     []uint64  `json:"quiet"`      // until the first octet of the others that had to wait
	HangUp    []uint64  `json:"hang_up"`    // until the end of those who gave up before the banner
}

// Warnings is the answer to an action that succeeded.
type Warnings struct {
	Warnings []string `json:"warnings"`
}

// The lists, each in an object of its own, so that it can have more members later.
type (
	Frontends struct {
		Frontends []Frontend `json:"frontends"`
	}
	Servers struct {
		Servers []Server `json:"servers"`
	}
	Counters struct {
		Counters []Counter `json:"counters"`
	}
)
