"""The one verb, where building and publishing meet: plan, build, check, publish."""
