package config

import "fmt"

// portUse describes what a port is used for, if that is not mail transfer between servers.
type portUse struct {
	name        string
	clientFirst bool // the client does not wait for the server to speak first, so every client would be an early talker
}

// tlsFirst describes a port whose protocol begins with TLS: the first octets are the client's ClientHello.
func tlsFirst(protocol string) portUse { return portUse{protocol + " in TLS from the start", true} }

// portUses holds the ports other than 25 that a mail site's HAProxy file is likely to have, with IANA's names.
var portUses = map[uint16]portUse{
	21:   {"FTP", false},
	22:   {"SSH, RFC 4253 section 4.2", true},
	53:   {"DNS", true},
	80:   {"HTTP", true},
	110:  {"POP3", false},
	119:  {"NNTP", false},
	143:  {"IMAP", false},
	389:  {"LDAP", true},
	443:  tlsFirst("HTTP"),
	465:  tlsFirst("submission, RFC 8314,"),
	563:  tlsFirst("NNTP"),
	587:  {"submission, RFC 6409", false},
	636:  tlsFirst("LDAP"),
	853:  tlsFirst("DNS"),
	990:  tlsFirst("FTP"),
	992:  tlsFirst("telnet"),
	993:  tlsFirst("IMAP"),
	995:  tlsFirst("POP3"),
	3268: {"LDAP", true},
	3269: tlsFirst("LDAP"),
	3306: {"MySQL", false},
	3389: {"RDP", true},
	4190: {"ManageSieve", false},
	5061: tlsFirst("SIP"),
	5222: {"XMPP", true},
	5269: {"XMPP", true},
	5432: {"PostgreSQL", true},
	6379: {"Redis", true},
	6697: tlsFirst("IRC"),
	8080: {"HTTP", true},
	8443: tlsFirst("HTTP"),
	8883: tlsFirst("MQTT"),
}

// warnPort warns of a port where a delay before the banner does harm.
func (r *resolver) warnPort(bind rawBind) {
	use, known := portUses[bind.Port]
	switch {
	case known && use.clientFirst:
		r.warn(bind.line, "bind: on port %d the client speaks first (%s): every client there counts as an early talker",
			bind.Port, use.name)
	case known:
		r.warn(bind.line, "bind: the clients of port %d (%s) are mail programs, and their users have to wait for the delay", bind.Port, use.name)
	}
}

// notForMail returns why a frontend needs no rules about early talk: all of its ports are known for other uses. It returns
// nil if one of them may belong to a mail exchanger.
func notForMail(binds []rawBind) error {
	for _, bind := range binds {
		if _, known := portUses[bind.Port]; !known {
			return nil
		}
	}
	if len(binds) == 0 {
		return nil
	}
	bind, why := binds[0], "its users would wait for the delay"
	if portUses[bind.Port].clientFirst {
		why = "its clients speak first, and would be rejected as early talkers"
	}
	return fmt.Errorf("port %d is used for %s: %s. hushgate serves mail exchangers, and forwards nothing else: leave this "+
		"frontend to HAProxy", bind.Port, portUses[bind.Port].name, why)
}
