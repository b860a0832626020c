package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Client asks the API of a running gateway.
type Client struct{ http http.Client }

// NewClient returns a client that reaches the gateway by dial.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return hearing{c, make(chan struct{}), new(sync.Once)}, nil
		},
		DisableCompression: true, DisableKeepAlives: true,
	}}}
}

// hearing is a connection whose answer is read after the request was written, and also if it could not be: a gateway says that
// a client may not ask, or that it has too many clients, without reading what they ask, and closes the connection.
type hearing struct {
	net.Conn
	asked chan struct{} // closed when the request was written, or the connection closed
	once  *sync.Once
}

func (h hearing) Read(b []byte) (int, error) {
	<-h.asked // net/http takes an answer before the request for an error
	return h.Conn.Read(b)
}

func (h hearing) Write(b []byte) (int, error) {
	n, err := h.Conn.Write(b)
	h.once.Do(func() { close(h.asked) })
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return len(b), nil // the next read gets the answer, or the end of the connection
	}
	return n, err
}

func (h hearing) Close() error {
	h.once.Do(func() { close(h.asked) })
	return h.Conn.Close()
}

// Unix returns a client for a unix socket at a path.
func Unix(path string) *Client {
	return NewClient(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}

// ErrNoAPI reports that what answers is no hushgate with this API: it may be an older release.
var ErrNoAPI = errors.New("no API of hushgate answers there")

// maxAnswer is the largest answer that is read, in octets.
const maxAnswer = 64 << 20

// Ask sends a request. path is escaped: a slash within a name is %2F. body is sent as JSON unless it is nil, and the answer is read
// into answer unless that is nil. An error that the gateway reports is a *Problem. Its other errors are those of the connection.
func (c *Client) Ask(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	r, err := c.open(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of hushgate: %w", err)
	}
	if answer == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("understand the answer of hushgate: %w", err)
	}
	return nil
}

// Open sends a GET request whose answer is read as it comes. The caller closes it.
func (c *Client) Open(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	r, err := c.open(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}

// Level asks what this client may do. known is false if the gateway, of an older release, does not tell.
func (c *Client) Level(ctx context.Context) (l Level, known bool, err error) {
	r, err := c.open(ctx, http.MethodHead, "/v1/openapi.yaml", nil, nil)
	if err != nil {
		return 0, false, err
	}
	_ = r.Body.Close()
	for l := range levels {
		if r.Header.Get(LevelHeader) == l.String() {
			return l, true, nil
		}
	}
	return 0, false, nil
}

// open sends a request, and returns its answer if that is no problem.
func (c *Client) open(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		text = bytes.NewReader(b)
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	to := url.URL{Scheme: "http", Host: "hushgate", Path: plain, RawPath: path, RawQuery: query.Encode()}
	q, err := http.NewRequestWithContext(ctx, method, to.String(), text)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	r, err := c.http.Do(q)
	var failed *url.Error
	switch {
	case err != nil && strings.Contains(err.Error(), "malformed HTTP"):
		return nil, ErrNoAPI
	case errors.As(err, &failed):
		return nil, failed.Err
	case err != nil:
		return nil, err
	case r.StatusCode < 400:
		return r, nil
	}
	defer func() { _ = r.Body.Close() }()
	return nil, readProblem(r)
}

// readProblem reads an answer that is an error.
func readProblem(r *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read the answer of hushgate: %w", err)
	}
	p := &Problem{}
	if json.Unmarshal(text, p) != nil || p.Detail == "" {
		return fmt.Errorf("hushgate answered %s: %.200s", r.Status, strings.TrimSpace(string(text)))
	}
	return p
}
