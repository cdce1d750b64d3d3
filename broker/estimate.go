package broker

import "unicode/utf8"

// Overheads of the chat format, in tokens: what OpenAI's cookbook ("How to
// count tokens with tiktoken") adds for a message and for priming the answer.
const (
	tokensPerMessage = 4
	tokensPerReply   = 3
	tokensPerTool    = 8
)

// estimateText guesses how many tokens s costs, without a vocabulary:
//
//   - four bytes of ASCII are one token, as English prose and code come out
//     in the byte-pair vocabularies in use;
//   - a letter of two bytes (Latin with accents, Greek, Cyrillic, Hebrew,
//     Arabic) is half a token;
//   - any other character (CJK, emoji) is one and a half.
//
// It errs on the high side for prose; the usage a provider reports replaces
// it after the call.
func estimateText(s string) int64 {
	var ascii, two, wide int64
	for _, r := range s {
		switch utf8.RuneLen(r) {
		case 1:
			ascii++
		case 2:
			two++
		default:
			wide++
		}
	}
	return (ascii + 2*two + 6*wide + 3) / 4
}

// estimate guesses the tokens of everything a request sends.
func (r *Request) estimate() int64 {
	n := int64(tokensPerReply)
	for i := range r.Messages {
		m := &r.Messages[i]
		n += tokensPerMessage + estimateText(m.Content)
		for _, c := range m.ToolCalls {
			n += tokensPerTool + estimateText(c.Name) + estimateText(string(c.Arguments))
		}
	}
	for _, t := range r.Tools {
		n += tokensPerTool + estimateText(t.Name) + estimateText(t.Description) +
			estimateText(string(t.Parameters))
	}
	return n + estimateText(string(r.Schema))
}

func (r *EmbedRequest) estimate() int64 {
	var n int64
	for _, s := range r.Input {
		n += estimateText(s)
	}
	return n
}

// estimate guesses the tokens of an answer whose provider reported none.
func (r *Response) estimate() int64 {
	n := estimateText(r.Text)
	for _, c := range r.ToolCalls {
		n += tokensPerTool + estimateText(c.Name) + estimateText(string(c.Arguments))
	}
	return n
}
