package admin

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Problem is the form of every error (RFC 9457).
type Problem struct {
	Type   string `json:"type"` // a URI that names the kind of problem
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Field  string `json:"field,omitempty"` // the parameter or member that is wrong

	Warnings []string `json:"warnings,omitempty"` // of an action that failed

	retry     time.Duration // how long to wait before another try
	last      bool          // the connection is closed after it
	challenge string        // how a client can prove who it is (RFC 9110 section 11.6.1)
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// kind names a kind of problem. The URI is not meant to be fetched.
func kind(status int, name, detail string) *Problem {
	return &Problem{Type: "urn:hushgate:problem:" + name, Title: http.StatusText(status), Status: status, Detail: detail}
}

// Invalid says what is wrong with a parameter, or with a member of the body.
func Invalid(field, detail string) *Problem {
	p := kind(http.StatusBadRequest, "invalid", detail)
	p.Field = field
	return p
}

// NotFound says that something does not exist.
func NotFound(detail string) *Problem { return kind(http.StatusNotFound, "not-found", detail) }

// Conflict says why something cannot be done in the present state.
func Conflict(detail string) *Problem { return kind(http.StatusConflict, "conflict", detail) }

// Refused says that an action was tried and came to nothing.
func Refused(detail string) *Problem {
	return kind(http.StatusUnprocessableEntity, "refused", detail)
}

// Ending says that the process is ending.
func Ending(detail string) *Problem { return kind(http.StatusServiceUnavailable, "ending", detail) }

// busy says that there was no time for a request.
func busy(detail string) *Problem {
	p := kind(http.StatusServiceUnavailable, "busy", detail)
	p.retry = time.Second
	return p
}

// write sends the problem as an answer.
func (p *Problem) write(w http.ResponseWriter) {
	body, _ := json.Marshal(p) // strings and numbers
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	if p.last {
		h.Set("Connection", "close")
	}
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.retry.Seconds())))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}
