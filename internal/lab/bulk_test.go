package lab

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
)

// bulkMail is n octets or a few more, printable and in lines, in which no part resembles another.
func bulkMail(n int) []byte {
	const line = 76
	text := base64.StdEncoding.EncodeToString(noise(n / 4 * 3))
	body := make([]byte, 0, n+n/line*2+2)
	for ; len(text) > 0; text = text[min(line, len(text)):] {
		body = append(append(body, text[:min(line, len(text))]...), '\r', '\n')
	}
	return body
}

// DeliverBulk delivers a large mail to a server that knows BDAT (RFC 3030), as the lab's MTA does. With DATA both ends have to
// look at every octet for dots, which under the race detector takes far longer than the gateway does.
func (l *Lab) DeliverBulk(ctx context.Context, from, to string, body []byte) error {
	c, err := l.Client.Dial(ctx, from, to)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	r := bufio.NewReader(c)
	if err := expectReply(r, "220"); err != nil {
		return fmt.Errorf("read the banner: %w", err)
	}
	for _, s := range []struct {
		say  string
		body []byte
		want string
	}{
		{"EHLO client.example.org", nil, "250"},
		{"MAIL FROM:<sender@example.org>", nil, "250"},
		{"RCPT TO:<rcpt@example.com>", nil, "250"},
		{fmt.Sprintf("BDAT %d LAST", len(body)), body, "250"},
		{"QUIT", nil, "221"},
	} {
		text := net.Buffers{[]byte(s.say + "\r\n"), s.body}
		if _, err := text.WriteTo(c); err != nil {
			return fmt.Errorf("deliver: %s: %w", s.say, err)
		}
		if err := expectReply(r, s.want); err != nil {
			return fmt.Errorf("deliver: %s: %w", s.say, err)
		}
	}
	return nil
}

// expectReply reads a reply, of one line or more, that has to begin with a code.
func expectReply(r *bufio.Reader, code string) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, code) || len(line) < 4 {
			return fmt.Errorf("got %q (%w), want %s", line, err, code)
		}
		if line[3] == ' ' {
			return nil
		}
	}
}
