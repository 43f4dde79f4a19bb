"""`moppet data audit | split | agreement`: what is known of pictures before they are used."""
