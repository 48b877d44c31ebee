"""The data of the command `seed_demo`: two small clubs."""

TENANTS = {"lighthouse": "The Lighthouse Keepers", "allotment": "Allotment 14"}

# username: (name, rights); admin is not a member of any tenant and uses only the admin.
USERS = {
    "admin": ("Site Admin", {"is_staff": True, "is_superuser": True}),
    "ada": ("Ada Brandt", {}),
    "bo": ("Bo Lindqvist", {}),
    "cem": ("Cem Aydin", {}),
}

# (tenant, author, title, content), the newest first; a tenant's first author owns it.
POSTS = [
    (
        "lighthouse",
        "ada",
        "The lamp is back",
        "After eleven nights of borrowed torches the lamp turns again. The bearing was the culprit: it "
        "had run dry in August, and nobody heard it over the gulls.\n"
        "\n"
        "The old one lies on the kitchen sill, for anybody who likes to see what salt does to brass.",
    ),
    (
        "allotment",
        "bo",
        "Too many courgettes, again",
        "There are nine on my bench as I write this. Please take them. If you know somebody who knows "
        "somebody with a pig, tell me on Saturday.",
    ),
    (
        "lighthouse",
        "cem",
        "What the fog log says about October",
        "Fourteen days of fog, four more than last year. The longest lasted from Tuesday noon to Thursday "
        "morning, when we saw the harbour wall again for about an hour.\n"
        "\n"
        "The log is in pencil from the ninth on, since all three pens gave up in the damp.",
    ),
    (
        "allotment",
        "cem",
        "A rota for the water pump",
        "The pump does not like to be started by four people in one morning. Let us try a rota for two "
        "weeks:\n"
        "\n"
        "Monday and Thursday: plots 1 to 7\n"
        "Tuesday and Friday: plots 8 to 14\n"
        "Weekend: whoever is there first, and they fill the butt by the gate as well.",
    ),
    (
        "lighthouse",
        "ada",
        "Visitors on Sunday",
        "A school class of twenty-two comes up at ten. We need one person on the stairs, one on the "
        "gallery, and one who can answer why the light is not green.\n"
        "\n"
        "Bring scones.",
    ),
    (
        "allotment",
        "bo",
        "The hedgehog under plot 9",
        "It is back, and it is larger. Please leave the leaf pile alone until March, and look twice "
        "before you light anything.",
    ),
    (
        "lighthouse",
        "cem",
        "Painting: what is left",
        "The railings are done, the door has one coat, and the north side must wait for three dry days in "
        "a row. So it must wait for spring.",
    ),
    (
        "allotment",
        "bo",
        "Seed swap in the shed",
        "Bring what you have, labelled or at least shaken. Last year's mystery envelope turned out to be "
        "leeks, and they were good leeks.",
    ),
]
