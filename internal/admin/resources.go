package admin

import "time"

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
	Name          string            `json:"name"`
	Backend       string            `json:"backend"`
	Services      []Service         `json:"services"`
	DelayMs       int64             `json:"delay_ms"`
	OnEarlyTalk   string            `json:"on_early_talk"`
	Connections   int               `json:"connections"`     // whose handshake is complete, and that have not ended
	Ended         uint64            `json:"ended"`           // all that have ended
	Verdicts      map[string]uint64 `json:"verdicts"`        // of those
	BytesToClient uint64            `json:"bytes_to_client"` // of those
	BytesToServer uint64            `json:"bytes_to_server"`
	Removed       bool              `json:"removed"` // by a reload; its connections go on
}

// Service is an address and port at which clients are served.
type Service struct {
	Address     string `json:"address"` // "192.0.2.25:25"
	Connections int    `json:"connections"`
	Closed      bool   `json:"closed"` // a reload has removed it; its connections go on
}

// Server is a server of a backend.
type Server struct {
	Backend       string     `json:"backend"`
	Name          string     `json:"name"`
	Address       string     `json:"address"`
	Backup        bool       `json:"backup"`
	Weight        int        `json:"weight"`
	Up            bool       `json:"up"`          // as its checks say; true if it has none
	Since         *time.Time `json:"since"`       // since when it is up or down; null if that has not changed since the start
	Connections   int        `json:"connections"` // that it has, or is being asked to take
	Ended         uint64     `json:"ended"`
	Failed        uint64     `json:"failed"`          // attempts to connect that failed
	BytesToClient uint64     `json:"bytes_to_client"` // of connections that have ended
	BytesToServer uint64     `json:"bytes_to_server"`
	Check         *Check     `json:"check"`   // null if the server is not checked
	Removed       bool       `json:"removed"` // by a reload; its connections go on
}

// Check is what is known of a server's health.
type Check struct {
	Enabled    bool       `json:"enabled"`
	Rise       int        `json:"rise"`
	Fall       int        `json:"fall"`
	Health     int        `json:"health"` // HAProxy's counter: from rise on the server is up
	Code       string     `json:"code"`   // HAProxy's name of the last result, such as L7OK; empty before the first check
	Status     int        `json:"status"` // the SMTP reply that decided, or 0
	Text       string     `json:"text"`   // the result in words
	DurationMs int64      `json:"duration_ms"`
	At         *time.Time `json:"at"` // when the last check ended
	Checks     uint64     `json:"checks"`
	Failures   uint64     `json:"failures"`
	Downs      uint64     `json:"downs"` // how often checks have turned the server down
}

// Counter is one number of the gateway.
type Counter struct {
	Name  string `json:"name"`
	Help  string `json:"help"`
	Label string `json:"label,omitempty"` // distinguishes numbers of one name
	Value string `json:"label_value,omitempty"`
	Gauge bool   `json:"gauge"` // a present number that can shrink
	Count uint64 `json:"count"` // over all shards
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
