"""The pages are true: tables equal the code, commands run, links lead somewhere, the site asks no other host."""
