"""The rules of each country: profiles, calendars, counting."""
