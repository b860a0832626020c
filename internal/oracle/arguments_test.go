package oracle

// arguments are tried in this order. The first ones are for single scripts that a later, wider one would match too.
var arguments = []argument{
	{
		title: "The window is smaller",
		text: `hushgate offers 4,096 octets while it holds a connection, for nothing is read and a window must not shrink when the
server's replaces it; the kernel offers 64 Ki. What lies between is in the window here and beyond it there:
acceptability follows RFC 9293 section 3.10.7.4 in both, and an RST beyond the window is dropped without a word (RFC
5961 section 3.2).`,
		scripts: []string{
			"*: RST in the kernel's window alone", "*: payload in the kernel's window alone",
			"CLOSED: SYN before the window",
		},
	},
	{
		title: "Early talk is rejected",
		text: `This is what hushgate is for. One octet of payload in an acceptable segment, in order or beyond a hole, ends the
connection with an RST that has exactly the number that the client expects (RFC 9293 section 3.10.7.4, RFC 5961
section 3.2). Nothing of the payload is acknowledged.`,
		scripts: []string{
			"SYN-RECEIVED: *", "SYN-RECEIVED with timestamps: *", "ESTABLISHED: *", "ESTABLISHED with timestamps: *",
			"LISTEN: payload in*", "LISTEN: FIN before payload that is missing",
		},
		linux: `^> \. 1:1\(0\) ack`, hushgate: `^> R\. 1:1\(0\) ack 1( <TS ecr \d+>)?$`,
	},
	{
		title: "A FIN is answered with a FIN",
		text: `A client that has finished sending cannot mail. hushgate passes through CLOSE-WAIT at once: its own FIN acknowledges
the client's (RFC 9293 section 3.10.7.4, eighth check; section 3.6). The kernel acknowledges and waits for its
application, which is silent.`,
		scripts: []string{
			"SYN-RECEIVED: *", "SYN-RECEIVED with timestamps: *", "ESTABLISHED: *", "ESTABLISHED with timestamps: *",
			"LISTEN: FIN in the handshake's last ACK",
		},
		linux: `^> \. 1:1\(0\) ack 2`, hushgate: `^> F\. 1:1\(0\) ack 2`,
	},
	{
		title: "SACK blocks are not sent",
		text: `SACK is agreed on for the server's sake, which will send the blocks. While hushgate holds a connection no octet of
payload is taken, in order or not, so that there is nothing to report; duplicates are not reported either (RFC 2883:
a sender may). The acknowledgement itself is the same.`,
		scripts: []string{"SYN-RECEIVED with timestamps: *", "ESTABLISHED with timestamps: *"},
		linux:   `^> \. .*,sack `, hushgate: `^> \. `,
	},
	{
		title: "A SYN in the window of a half-open connection",
		text: `RFC 9293 section 3.10.7.4, fourth check, has a passive open return to LISTEN. hushgate does, and there takes the SYN
for the new one that it is (SYN and FIN together, as in LISTEN, are nobody's, and a SYN-ACK meets the RST that
LISTEN has for an ACK). Linux forgets the connection as well but answers with an RST, as RFC 793 had it: the
client's next try succeeds a second later. A SYN-ACK with a wrong number meets Linux's check of the ACK first and
changes nothing there.`,
		scripts: []string{"SYN-RECEIVED*: SYN*", "SYN-RECEIVED*: another SYN, then its ACK", "SYN-RECEIVED: flags S*"},
		linux:   `^> (R\. seq 0 ack|\. 1:1\(0\) ack 1)`, hushgate: `^(nothing|> S\. 0:0\(0\)|> R 1:1\(0\)$)`,
	},
	{
		title: "A SYN again says anew what is offered",
		text: `Some stacks leave options out of their later SYNs, lest a middlebox dropped the first for them, and do not apply them
from then on: an answer may only have what was offered (RFC 7323 sections 2.2 and 3.2, RFC 2018 section 2). hushgate
keeps what both SYNs offer, and echoes the later timestamp (RFC 7323 section 4.3). Linux answers every SYN as it
answered the first.`,
		scripts: []string{"SYN-RECEIVED with timestamps: SYN again*"},
		linux:   `^> S\. 0:0\(0\) ack 1 <mss,sackOK,TS ecr 1000,wscale>$`, hushgate: `^> S\. 0:0\(0\) ack 1 <mss`,
	},
	{
		title: "The timestamp's echo is not checked in the handshake",
		text: `Linux refuses the handshake's last ACK if it echoes a timestamp that was never sent. No RFC asks for it (RFC 7323
section 4 uses the echo to measure), the ACK number has been guessed already if the segment is forged, and
middleboxes that rewrite timestamps badly exist.`,
		scripts: []string{"SYN-RECEIVED with timestamps: ACK, echo *"},
		linux:   `^> \. 1:1\(0\) ack 1`, hushgate: `^nothing$`,
	},
	{
		title: "An old timestamp is answered",
		text: `RFC 7323 section 5.3, R1: an acknowledgement is sent for a segment that PAWS refuses. Linux no longer answers those
without payload. hushgate does, within the limit for challenge ACKs.`,
		scripts: []string{
			"ESTABLISHED with timestamps: ACK, timestamp earlier", "*with timestamps: ACK, timestamp much later",
			"*with timestamps: keep-alive, timestamp later, then one between", "TIME-WAIT with timestamps: a new SYN with a later timestamp, and its ACK",
		},
		linux: `^nothing$`, hushgate: `^> \. \d+:\d+\(0\) ack \d+ <TS`,
	},
	{
		title:   "An RST with an old timestamp counts",
		text:    "RFC 7323 section 5.3, R1, applies PAWS to what is not an RST. Linux applies it to an RST too in SYN-RECEIVED and TIME-WAIT.",
		scripts: []string{"*with timestamps: RST, timestamp earlier"},
		linux:   `^> \. \d+:\d+\(0\) ack`, hushgate: `^> R `,
	},
	{
		title: "The sequence number is looked at before the ACK",
		text: `A stray segment of the old connection meets the new one, half-open, that took its place out of TIME-WAIT. RFC 9293
section 3.10.7.4 looks at the sequence number first and answers with an ACK; Linux looks at the ACK first and
answers with an RST. Neither gives the new connection up.`,
		scripts: []string{"TIME-WAIT*: SYN *"},
		linux:   `^> R 28:28\(0\)$`, hushgate: `^> \. 1:1\(0\) ack`,
	},
	{
		title: "Text in TIME-WAIT is ignored",
		text: `RFC 9293 section 3.10.7.4, seventh and eighth checks: after the client's FIN there can be no text in the window, and
it is ignored; a segment without ACK is dropped by the fifth. Linux answers whatever is not an ACK at RCV.NXT.`,
		scripts: []string{"TIME-WAIT*: *"},
		linux:   `^> \. 28:28\(0\) ack 10`, hushgate: `^nothing$`,
	},
	{
		title: "FIN-WAIT-2 and TIME-WAIT are full states",
		text: `Linux keeps a small record in these states once the application has closed, and checks less: no ACK number; an RST
beyond RCV.NXT is dropped, or ends FIN-WAIT-2; a SYN in the window ends FIN-WAIT-2 with an RST. hushgate applies RFC
5961 (sections 3.2, 4.2 and 5.2) in all states alike: a challenge ACK, and nothing changes.`,
		scripts: []string{
			"FIN-WAIT-2: RST*", "FIN-WAIT-2: ACK *", "FIN-WAIT-2: SYN*", "FIN-WAIT-2: FIN and ACK of octets never sent",
			"TIME-WAIT*: RST*", "TIME-WAIT*: ACK *",
		},
	},
	{
		title: "Payload after our words is read",
		text: `When hushgate has said why it rejects a client it closes, but goes on to acknowledge what the client had still to
say and throws it away. Linux answers with an RST (RFC 9293 section 3.6.1: payload that nobody will read), on which
the client's TCP may throw away our words unread.`,
		scripts: []string{"FIN-WAIT-1: *", "FIN-WAIT-2: *"},
		linux:   `^> R \d+:\d+\(0\)$`, hushgate: `^> \. 28:28\(0\) ack`,
	},
	{
		title: "What is known already is not looked at for its ACK",
		text: `A segment that ends at RCV.NXT is not acceptable (RFC 9293 section 3.10.7.4, first check): hushgate answers with an
ACK and looks no further. Linux accepts it as far as its ACK goes, and so moves on one segment earlier. The client
acknowledges our FIN again when it comes again.`,
		scripts: []string{
			"LAST-ACK: *", "FIN-WAIT-1: *", "CLOSING: keep-alive*", "CLOSING: payload known already",
			"CLOSING: FIN again",
		},
		linux: `^nothing$`, hushgate: `^> \. \d+:\d+\(0\) ack`,
	},
	{
		title: "A second FIN, behind the first, is answered",
		text: `In CLOSING a FIN at RCV.NXT contradicts the one before it. Both take its ACK and go on to TIME-WAIT, and neither
takes the FIN; hushgate says so with an ACK, as it does for a repeated one.`,
		scripts: []string{"CLOSING: *FIN*"},
		linux:   `^nothing$`, hushgate: `^> \. 28:28\(0\) ack 10$`,
	},
	{
		title: "An RST one before RCV.NXT",
		text: `Some stacks send an RST behind their FIN with the FIN's own number. Linux takes it for their sake. RFC 5961 section
3.2 does not; hushgate repeats its FIN a few times, and then forgets the connection, whose end was logged already.`,
		scripts: []string{"LAST-ACK: RST one before RCV.NXT", "CLOSING: RST one before RCV.NXT"},
		linux:   `^> R \d+:\d+\(0\)$`, hushgate: `^> \. \d+:\d+\(0\) ack`,
	},
	{
		title: "The same SYN again gets the same ISS",
		text: `Our ISS is a keyed function of the 4-tuple, the client's own ISN and a clock of minutes (RFC 6528 with a slow
clock). A client that reopens a 4-tuple with the very ISN that it had gets the number that it had; with any other
ISN, another one.`,
		scripts: []string{"CLOSED: SYN again*"},
		linux:   `, another ISS$`, hushgate: `^> S\. 0:0\(0\) ack 1 <mss>$`,
	},
	{
		title: "ECN is not agreed to",
		text: `RFC 3168 section 6.1.1 leaves it to the server. hushgate answers before it knows the server behind it, which may not
do ECN, and mail has no use for it.`,
		scripts: []string{"LISTEN: SYN, ECN", "LISTEN: SYN, reserved bit of accurate ECN"},
		linux:   `^> SE\. `, hushgate: `^> S\. `,
	},
	{
		title: "An MD5 signature is ignored",
		text: `Linux drops a SYN that is signed when no key was set for the peer. hushgate ignores the option like any that it does
not know (RFC 9293 section 3.1): the client, which finds no signature in the answer, drops that (RFC 2385 section
2).`,
		scripts: []string{"LISTEN: SYN, MD5 signature"},
		linux:   `^nothing$`, hushgate: `^> S\. `,
	},
	{
		title: "IPv4 options are not answered",
		text: `Linux fills in the record route and timestamp options that it gets and returns them, as RFC 1122 section 4.2.3.8
allows. hushgate lets them pass and answers without: our own packets have no use for them, and networks drop packets
that carry any.`,
		scripts: []string{"LISTEN: SYN, IPv4 option record route", "LISTEN: SYN, IPv4 option timestamp"},
		linux:   `, IP options$`, hushgate: `^> S\. .*>$`,
	},
	{
		title: "Bad IPv6 headers are dropped without a word",
		text: `Linux reports a hop-by-hop header that is not the first, segments left in a routing header, an option that is to be
reported, and a fragment of odd length by ICMPv6. hushgate drops and counts them: it is a gateway, and sends no errors
of its own about packets that no TCP sends.`,
		scripts: []string{
			"*: *, IPv6 hop-by-hop not in front", "*: *, IPv6 routing header*",
			"*: keep-alive, IPv6 fragment without its rest",
			"*: *, IPv6 destination options, option to be reported",
		},
		linux: `^> ICMPv6 `, hushgate: `^nothing$`,
	},
}
