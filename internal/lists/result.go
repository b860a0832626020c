package lists

import (
	"errors"
	"fmt"
	"strings"
)

const wantResult = `permit, dunno, reject, reject with a text, or a reply such as "554 5.7.1 go away"`

// parseResult reads what stands behind a pattern: the words of postscreen_access_list, and of access(5) those that say no
// more than they: OK, REJECT with a text, and 4NN or 5NN with a text.
func parseResult(s string) (result, *Problem) {
	word, text := cutWord(s)
	var r result
	var err error
	switch strings.ToLower(word) {
	case "permit", "ok":
		r.action = Permit
	case "dunno":
		r.action = Dunno
	case "reject":
		r.action = Reject
		if text != "" {
			r.reply, err = replyOf(text)
			text = ""
		}
	default:
		if !isCode(word) {
			return r, &Problem{Expected: wantResult, Found: quote(s)}
		}
		r.action = Reject
		r.reply, err = replyOf(s)
		text = ""
	}
	switch {
	case err != nil:
		return r, &Problem{Expected: "the line of a negative SMTP reply", Found: quote(s), Reason: err.Error()}
	case text != "":
		return r, &Problem{Expected: "nothing after " + strings.ToLower(word), Found: quote(text)}
	}
	return r, nil
}

// Postfix's codes for a client that is rejected by a table: access_map_reject_code, and the status that it sends with it.
const (
	rejectCode   = "554"
	rejectStatus = "5.7.1"
)

// replyOf makes the line of an SMTP reply (RFC 5321 section 4.2) of the text behind reject. Code and enhanced status
// (RFC 3463) are added where the text does not begin with them.
func replyOf(text string) (string, error) {
	const most = 510 // RFC 5321 section 4.5.3.1.5: 512 octets with CRLF
	code, rest := rejectCode, text
	if word, after := cutWord(text); isCode(word) {
		code, rest = word, after
	}
	status, after := cutWord(rest)
	if isStatus(status) {
		rest = after
	} else {
		status = code[:1] + rejectStatus[1:]
	}
	reply := code + " " + status + " " + rest
	switch {
	case rest == "":
		return "", errors.New("there is no text after the code")
	case status[0] != code[0]:
		return "", fmt.Errorf("the status %s belongs to no reply with the code %s", status, code)
	case strings.IndexFunc(reply, func(r rune) bool { return r < ' ' || r > '~' }) >= 0:
		return "", errors.New("not printable ASCII")
	case len(reply) > most:
		return "", fmt.Errorf("longer than %d octets", most)
	}
	return reply, nil
}

// isCode tells whether s is the code of a negative reply.
func isCode(s string) bool {
	return len(s) == 3 && (s[0] == '4' || s[0] == '5') && isDigits(s)
}

// isStatus tells whether s is an enhanced status code (RFC 3463 section 2) of a negative reply.
func isStatus(s string) bool {
	parts := strings.Split(s, ".")
	return len(parts) == 3 && (parts[0] == "4" || parts[0] == "5") &&
		isDigits(parts[1]) && len(parts[1]) <= 3 && isDigits(parts[2]) && len(parts[2]) <= 3
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
