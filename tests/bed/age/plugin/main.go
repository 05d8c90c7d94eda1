// age-plugin-bed: a plugin for the tests, on the framework that real plugins use. A recipient
// age1bed1... wraps for the X25519 key in it, an identity AGE-PLUGIN-BED-1... unwraps with the key in it.
//
//	age-plugin-bed keygen        prints the recipient and the identity
//	age-plugin-bed keygen ask    the same; unwrapping asks for the PIN 1234 first
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

func main() {
	p, err := plugin.New("bed")
	if err != nil {
		fail(err)
	}
	if len(os.Args) > 1 && os.Args[1] == "keygen" {
		keygen(len(os.Args) > 2)
		return
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) {
		return age.ParseX25519Recipient(string(data))
	})
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		text, ask := bytes.CutPrefix(data, []byte("ask:"))
		own, err := age.ParseX25519Identity(string(text))
		if err != nil {
			return nil, err
		}
		return &identity{p, own, ask}, nil
	})
	os.Exit(p.Main())
}

type identity struct {
	p   *plugin.Plugin
	own *age.X25519Identity
	ask bool
}

// The stanzas of the recipient are those of X25519.
func (i *identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if i.ask {
		if err := i.p.DisplayMessage("the bed wants\nits PIN"); err != nil {
			return nil, err
		}
		pin, err := i.p.RequestValue("the PIN of the bed", true)
		if err != nil {
			return nil, err
		}
		if pin != "1234" {
			return nil, errors.New("wrong PIN")
		}
	}
	return i.own.Unwrap(stanzas)
}

func keygen(ask bool) {
	own, err := age.GenerateX25519Identity()
	if err != nil {
		fail(err)
	}
	data := own.String()
	if ask {
		data = "ask:" + data
	}
	fmt.Println(plugin.EncodeRecipient("bed", []byte(own.Recipient().String())))
	_, _ = io.WriteString(os.Stdout, plugin.EncodeIdentity("bed", []byte(data))+"\n")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "age-plugin-bed:", err)
	os.Exit(1)
}
