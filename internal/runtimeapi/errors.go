package runtimeapi

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

// What HAProxy shows as a frontend's latest invalid request is the latest early talk here.

const noProxy = answerError("No such proxy.\n")

func showErrors(ctx context.Context, c *client, args []string) (string, error) {
	v, err := c.server.look(ctx)
	if err != nil {
		return "", err
	}
	only, requests := -1, true
	if len(args) > 0 {
		if only, err = strconv.Atoi(args[0]); err != nil {
			p := v.proxy(args[0])
			if p == nil {
				return "", noProxy
			}
			only = p.id
		}
		requests = len(args) == 1 || args[1] != "response"
	}
	var total uint64
	var b strings.Builder
	for _, p := range v.proxies {
		if p.front == nil {
			continue
		}
		n := p.front.Verdicts["early-talker"]
		total += n
		if e := p.front.LastEarlyTalk; e != nil && requests && (only < 0 || only == p.id) {
			writeEarlyTalk(&b, p, n, e)
		}
	}
	return fmt.Sprintf("Total events captured on [%s] : %d\n", haproxyTime(c.server.now()), total) + b.String(), nil
}

func haproxyTime(t time.Time) string { return t.Local().Format("02/Jan/2006:15:04:05.000") }

// writeEarlyTalk writes what HAProxy writes of an invalid request, with a line of hushgate's own.
func writeEarlyTalk(b *strings.Builder, p *proxy, n uint64, e *admin.Verdict) {
	octets := unescape(e.Talk)
	fmt.Fprintf(b, " \n[%s] frontend %s (#%d): invalid request\n", haproxyTime(e.Time), p.name, p.id)
	fmt.Fprintf(b, "  backend <NONE> (#-1), server <NONE> (#-1), event #%d, src %s\n", max(n, 1)-1, bare(net.JoinHostPort(e.Client, strconv.Itoa(e.ClientPort))))
	fmt.Fprintf(b, "  buffer starts at 0 (including 0 out), 0 free,\n  len %d, wraps at %d, error at position 0\n", len(octets), len(octets))
	silent := int64(0)
	if e.FirstByteMs != nil {
		silent = *e.FirstByteMs
	}
	fmt.Fprintf(b, "  hushgate: talked after %d ms, %d octets in all, rule %q :\n  \n", silent, e.TalkBytes, printable.Text(e.Rule))
	dump(b, octets)
}

// lineWidth is how long the lines of HAProxy's dumps may be.
const lineWidth = 80

// dump writes octets as HAProxy does: in lines that end with a newline of the text, or are full and go on (+).
func dump(b *strings.Builder, octets []byte) {
	for at, begin := 0, 0; at < len(octets); {
		mark := byte(' ')
		if at != begin {
			mark = '+'
		}
		line := fmt.Sprintf("  %05d%c ", at, mark)
		for at < len(octets) {
			c := octets[at]
			shown := shownAs(c)
			if len(line)+len(shown) > lineWidth-1 {
				break
			}
			line += shown
			if at++; c == '\n' {
				begin = at
				break
			}
		}
		b.WriteString(line + "\n")
	}
}

func shownAs(c byte) string {
	switch c {
	case '\t':
		return `\t`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case 0x1b:
		return `\e`
	case '\\':
		return `\\`
	}
	if c >= ' ' && c < 0x7f {
		return string(c)
	}
	return fmt.Sprintf(`\x%02X`, c)
}

// unescape reads the escapes of admin.Verdict.Talk: those of C, and three octal digits. Anything else stands for itself.
func unescape(s string) (octets []byte) {
	const letters, named = `abfnrtv\`, "\a\b\f\n\r\t\v\\"
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			octets = append(octets, s[i])
			continue
		}
		if j := strings.IndexByte(letters, s[i+1]); j >= 0 {
			octets = append(octets, named[j])
			i++
			continue
		}
		if i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				octets = append(octets, byte(n))
				i += 3
				continue
			}
		}
		octets = append(octets, '\\')
	}
	return octets
}
