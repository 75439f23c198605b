"""Words that matter to the offline assistant, and what recognisers write for them."""

from __future__ import annotations

from collections.abc import Mapping

VOCABULARY: frozenset[str] = frozenset(
    """
    what time date today year month week help story stories joke another again repeat spell spelled tell sing
    stop wait cancel never mind continue going thanks thank hello good morning afternoon evening night goodbye
    timer timers alarm remind reminder wake minute minutes second seconds hour hours days weeks years list running
    convert many much feet foot inch inches yard yards mile miles meter meters metre metres kilometer kilometers
    kilometre kilometres centimeter centimeters centimetre millimeter millimeters pound pounds ounce ounces gram grams
    kilogram kilograms kilo kilos gallon gallons liter liters litre litres pint pints quart quarts cups teaspoon
    teaspoons tablespoon tablespoons celsius fahrenheit degrees degree kelvin knots tons tonne
    plus minus times divided multiplied percent square root squared cubed half quarter power calculate
    zero three four five seven eight nine eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
    twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen couple point
    after hear there robot name made doing sorry pardon louder slower down testing just said could would please
    real human yourself capable
    """.split()
)

SOUND_ALIKE: Mapping[str, str] = {
    "thyme": "time", "tim": "time", "dime": "time", "tymer": "timer", "timber": "timer", "dimer": "timer",
    "tima": "timer", "tamer": "timer", "tines": "times", "weight": "wait", "wade": "wait", "spill": "spell",
    "spelt": "spelled", "smell": "spell", "jock": "joke", "choke": "joke", "yolk": "joke", "jokes": "joke",
    "store": "story", "storey": "story", "tory": "story", "mail": "mile", "mails": "miles", "myles": "miles",
    "smiles": "miles", "feat": "feet", "feed": "feet", "fete": "feet", "pond": "pound", "ponds": "pounds",
    "leader": "liter", "leaders": "liters", "litter": "liter", "litters": "liters", "celcius": "celsius",
    "selsius": "celsius", "farenheit": "fahrenheit", "fahrenhite": "fahrenheit", "farenheight": "fahrenheit",
    "fahrenheight": "fahrenheit", "our": "hour", "ours": "hours", "minuets": "minutes", "minuet": "minute",
    "remained": "remind", "remine": "remind", "concert": "convert", "convent": "convert", "covert": "convert",
    "knight": "night", "halve": "half", "calf": "half", "mourning": "morning", "high": "hi", "buy": "bye",
    "they": "day", "tail": "tell", "tel": "tell", "sell": "tell", "wear": "where", "squire": "square",
    "route": "root", "rude": "root", "rout": "root", "present": "percent", "grahams": "grams", "meteors": "meters",
    "mine": "minus", "devided": "divided", "provided": "divided", "plays": "plus", "sent": "set", "sat": "set",
}  # fmt: skip
"""Only used when the words as they are make no sense to any skill."""
