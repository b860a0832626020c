package report

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"regexp"
	"strings"
	"time"

	"hushgate/internal/printable"
)

// localName is an address of this machine, such as postmaster, to which sendmail appends the domain.
var localName = regexp.MustCompile(`^[A-Za-z0-9._+-]{1,64}$`)

// addresses returns a list of addresses as it is in a header.
func addresses(list string) (string, error) {
	var all []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); localName.MatchString(part) {
			all = append(all, part)
			continue
		}
		address, err := mail.ParseAddress(part)
		if err != nil {
			return "", err
		}
		all = append(all, address.String())
	}
	return strings.Join(all, ",\n "), nil
}

// Mail writes the report as a message (RFC 5322) for sendmail -t: the text, with the page attached. Mail programs show no drawings in a
// mail, but browsers do in an attachment. An empty from is left to sendmail. Host is the name of this machine.
func (r *Report) Mail(w io.Writer, most int, from, to, host string) error {
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)
	head := "MIME-Version: 1.0\nAuto-Submitted: auto-generated\nDate: " + r.To.Format(time.RFC1123Z) + "\n"
	for _, a := range []struct{ name, list string }{{"From", from}, {"To", to}} {
		if a.list == "" && a.name == "From" {
			continue
		}
		list, err := addresses(a.list)
		if err != nil {
			return fmt.Errorf("%s: %q: expected mail addresses with commas between them: %w", a.name, a.list, err)
		}
		head += a.name + ": " + list + "\n"
	}
	head += "Subject: hushgate on " + printable.Text(strings.ToValidUTF8(host, "?")) + ": " + r.summary() + "\n"
	head += "Content-Type: multipart/mixed; boundary=" + parts.Boundary() + "\n\n"
	for _, part := range []struct {
		kind, disposition string
		write             func(io.Writer, int) error
	}{
		{"text/plain; charset=utf-8", "inline", r.Text},
		{"text/html; charset=utf-8", fmt.Sprintf("attachment; filename=hushgate-%s.html", r.To.Format("2006-01-02")), r.HTML},
	} {
		p, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Type": {part.kind}, "Content-Disposition": {part.disposition}, "Content-Transfer-Encoding": {"quoted-printable"},
		})
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		q := quotedprintable.NewWriter(p)
		if err := part.write(q, most); err != nil {
			return err
		}
		if err := q.Close(); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if err := parts.Close(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	// sendmail expects the line ends of the system.
	if _, err := io.WriteString(w, head+strings.ReplaceAll(body.String(), "\r\n", "\n")); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
